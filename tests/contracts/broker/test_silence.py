import asyncio

from contracts.broker import Bus
from contracts.broker.silence import Silence
from tests.kit.broker import Broker
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


async def test_a_connection_on_which_the_server_says_nothing_is_closed_before_the_next_attempt(
    broker: Broker, link: Bus
) -> None:
    """An unclosed connection would be a warning, which fails the test."""
    accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    broker.kill()
    async with await asyncio.start_server(lambda *pair: accepted.append(pair), "127.0.0.1", broker.port):
        await eventually(lambda: len(accepted) > 1)
        await eventually(accepted[0][0].at_eof)
        for _, writer in accepted:
            writer.close()
