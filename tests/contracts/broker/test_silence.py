from contracts.broker.silence import Silence
from tests.kit.waiting import eventually


async def test_silence_lasts_from_the_first_question_after_the_last_answer() -> None:
    silence = Silence()
    assert (silence.lasts_s, silence.ever_answered) == (0, False)
    silence.asked()
    await eventually(lambda: silence.lasts_s > 0.2)
    silence.asked()
    assert silence.lasts_s > 0.2
    silence.answered()
    assert (silence.lasts_s, silence.ever_answered) == (0, True)
    silence.asked()
    assert silence.lasts_s < 0.2


async def test_whoever_is_asked_anew_is_not_blamed_for_an_earlier_silence() -> None:
    silence = Silence()
    silence.asked()
    silence.begin_anew()
    assert (silence.lasts_s, silence.ever_answered) == (0, False)
