import pytest

from contracts.job import Job
from contracts.stage_times import PACES_MAX, STAGES
from inference.leader.pace import Pace
from inference.leader.progress import BEFORE_THE_END, Progress

JOB = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1)
PIXELS = 256 * 144 * 25


def progress(pace: Pace, job: Job = JOB) -> Progress:
    return Progress(pace, job, width=256, height=144)


def test_it_rises_over_stages_and_steps_and_ends_below_one() -> None:
    seen = progress(Pace())
    values = [seen.advance_to("encode", 0), *(seen.advance_to("denoise", step / 20) for step in range(21))]
    values += [seen.advance_to("decode", 0), seen.advance_to("store", 0), seen.advance_to("store", 1)]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] == BEFORE_THE_END


def test_it_never_falls() -> None:
    seen = progress(Pace())
    seen.advance_to("decode", 0)
    before = seen.value
    assert seen.advance_to("denoise", 0.1) == before


def test_stages_weigh_what_they_were_measured_to_take() -> None:
    pace = Pace()
    for stage, seconds in (("encode", 1.0), ("denoise", 6.0), ("decode", 2.0), ("store", 1.0)):
        pace.record_stage_time(stage, JOB, PIXELS, seconds)  # pyright: ignore[reportArgumentType]
    seen = progress(pace)
    shares = [seen.advance_to(stage, 0) for stage in STAGES]
    assert shares == pytest.approx([0.0, 0.1, 0.7, 0.9])


def test_twice_the_steps_are_expected_to_take_twice_as_long_and_one_pass_half() -> None:
    pace = Pace()
    twice = Job(prompt="a boat at sea", num_frames=25, infer_steps=40, seed=1)
    once = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1, guidance_scale=1.0)
    expected = pace.expected_s("denoise", JOB, PIXELS)
    assert pace.expected_s("denoise", twice, PIXELS) == pytest.approx(2 * expected)
    assert pace.expected_s("denoise", once, PIXELS) == pytest.approx(expected / 2)


def test_an_attempt_goes_on_where_the_one_before_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("inference.leader.progress.time.monotonic", lambda: now)
    pace = Pace()
    first, second = progress(pace), progress(pace)
    reached = first.advance_to("denoise", 0.75)
    second.resume("denoise", 0.75)
    assert second.value == reached
    second.start_clock()
    now = 1.0
    second.advance_to("denoise", 0.75)
    assert second.stillness_limit_s(floor_s=60, cap_s=900) == 900, "to read a checkpoint is no step"
    now = 5.0
    second.advance_to("decode", 0)
    assert pace.expected_s("denoise", JOB, PIXELS) == pytest.approx(20.0)


def test_a_stage_may_take_many_times_what_it_took_before_and_no_less_than_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("inference.leader.progress.time.monotonic", lambda: now)
    pace = Pace()
    assert progress(pace).stillness_limit_s(floor_s=60, cap_s=900) == 900
    seen = progress(pace)
    for at, stage, step in ((2.0, "denoise", 0), (22.0, "denoise", 1), (23.0, "denoise", 2), (24.0, "decode", 0)):
        now = at
        seen.advance_to(stage, step / 20)  # pyright: ignore[reportArgumentType]
    after = progress(pace)
    assert after.stillness_limit_s(floor_s=60, cap_s=900) == 60, "10 times 2 s is less"
    after.advance_to("denoise", 0)
    assert after.stillness_limit_s(floor_s=60, cap_s=900) == 200
    assert after.stillness_limit_s(floor_s=60, cap_s=100) == 100
    other = Progress(pace, JOB, width=512, height=288)
    other.advance_to("denoise", 0)
    assert other.stillness_limit_s(floor_s=60, cap_s=900) == 900, "another size may have to be compiled first"


def test_a_job_teaches_the_pace_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("inference.leader.progress.time.monotonic", lambda: now)
    pace = Pace()
    seen = progress(pace)
    for stage, at in (("denoise", 3.0), ("decode", 13.0), ("store", 16.0)):
        now = at
        seen.advance_to(stage, 0)  # pyright: ignore[reportArgumentType]
    now = 17.0
    seen.end_last_stage()
    assert [pace.expected_s(stage, JOB, PIXELS) for stage in STAGES] == pytest.approx([3.0, 10.0, 3.0, 1.0])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock with one hand, which the test moves."""
    now = [0.0]
    monkeypatch.setattr("inference.leader.progress.time.monotonic", lambda: now[0])
    return now


def measured() -> Pace:
    """A pace by which a job like `JOB` takes 1, 6, 2 and 1 seconds."""
    pace = Pace()
    for stage, seconds in zip(STAGES, (1.0, 6.0, 2.0, 1.0), strict=True):
        pace.record_stage_time(stage, JOB, PIXELS, seconds)
    return pace


def test_the_time_left_is_unknown_until_a_job_or_two_steps_of_this_one_were_measured(clock: list[float]) -> None:
    seen = progress(Pace())
    seen.resume("denoise", 0.0)
    for at, step in ((4.0, 0), (10.0, 1)):
        clock[0] = at
        seen.advance_to("denoise", step / 20)
        assert seen.left_s() is None
    clock[0] = 12.0
    seen.advance_to("denoise", 2 / 20)
    left_s = seen.left_s()
    assert left_s is not None
    assert left_s > 18 * 2.0, "the stages after the steps take their time too"
    assert left_s == pytest.approx(36.0 + 40.0 * (3.3e-6 + 2.0e-7) / (1.1e-7 * 40))


def test_the_time_left_counts_the_stages_to_come_and_the_time_that_passes(clock: list[float]) -> None:
    seen = progress(measured())
    assert seen.left_s() == pytest.approx(10.0)
    assert seen.left_s(on_ranks=True) == pytest.approx(9.0)
    clock[0] = 0.5
    assert seen.left_s() == pytest.approx(9.5)
    assert seen.left_s(running=False) == pytest.approx(10.0)
    clock[0] = 5.0
    assert seen.left_s() == pytest.approx(9.0), "a stage that takes longer than expected leaves the later ones"
    clock[0] = 6.0
    seen.advance_to("decode", 0)
    seen.show("decode", 0.5)
    assert seen.left_s() == pytest.approx(2.0)
    clock[0] = 6.5
    assert seen.left_s() == pytest.approx(1.5)


def test_an_attempts_own_steps_count_more_than_those_of_others(clock: list[float]) -> None:
    seen = progress(measured())
    seen.advance_to("denoise", 0)
    for step in range(1, 6):
        clock[0] = step * 1.0
        seen.advance_to("denoise", step / 20)
    assert seen.left_s() == pytest.approx(15 * 1.0 + 2.0 + 1.0)


def test_an_attempt_that_goes_on_from_a_checkpoint_has_less_left() -> None:
    seen = progress(measured())
    seen.resume("denoise", 0.5)
    assert seen.left_s(running=False) == pytest.approx(3.0 + 2.0 + 1.0)


def test_a_pace_is_told_once_every_stage_was_measured_and_only_the_latest_sizes_are(clock: list[float]) -> None:
    pace = Pace()
    pace.record_stage_time("denoise", JOB, PIXELS, 6.0)
    assert pace.measured() == []
    for more in range(PACES_MAX + 3):
        for stage in STAGES:
            pace.record_stage_time(stage, JOB, PIXELS + more, 2.0)
    told = pace.measured()
    assert [each.pixels for each in told] == [PIXELS + more for more in range(3, PACES_MAX + 3)]
    assert told[0].decode == pytest.approx(2.0 / (PIXELS + 3))


def test_a_slow_first_job_is_outweighed_by_those_after_it() -> None:
    pace = Pace()
    for seconds in (100.0, *[10.0] * 6):
        pace.record_stage_time("denoise", JOB, PIXELS, seconds)
    assert 10 < pace.expected_s("denoise", JOB, PIXELS) < 12
