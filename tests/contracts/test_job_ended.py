"""The one line that a job has in the log at its end."""

from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from contracts import wire
from contracts.bounds import SECONDS_MAX
from contracts.events import AnyEnding, JobFailed
from contracts.job_ended import Known, log_ended, standing_alone
from contracts.plan import Plan
from contracts.stage_times import Timings
from tests.kit.builders import ID, cancelled, submitted, succeeded
from tests.kit.process import PLANTED

PLAN = Plan(cfg_size=2, ulysses_size=4, vae_parallel=True)
TIMINGS = Timings(load=0.1, encode=1.0, denoise=20.0, decode=3.0, mux=0.5, store=0.2)


def line(ending: AnyEnding, known: Known, *, ours: bool = True) -> dict[str, Any]:
    with capture_logs() as lines:
        log_ended(ending, known, ours=ours)
    (only,) = lines
    return dict(only)


def test_a_success_says_what_the_job_was_and_where_its_time_went() -> None:
    job = replace(submitted(), created_at=100.0)
    known = Known(submitted=job, model="Wan", size="832*480", plan=PLAN, attempts=2, waited_s=7.00049)
    seen = line(replace(succeeded(2, 160.5), timings=TIMINGS, size_bytes=4711), known)
    assert seen == {
        "event": "job_ended", "log_level": "info", "job_id": ID, "ending": "JobSucceeded", "ours": True, "reason": None,
        "model": "Wan", "size": "832*480", "num_frames": job.job.num_frames, "steps": job.job.infer_steps,
        "plan": "cfg=2,ulysses=4,vae_parallel", "attempts": 2, "waited_s": 7.0, "total_s": 60.5, "load_s": 0.1,
        "encode_s": 1.0, "denoise_s": 20.0, "decode_s": 3.0, "mux_s": 0.5, "store_s": 0.2, "bytes": 4711,
    }  # fmt: skip


def test_a_failure_is_a_warning_with_its_reason() -> None:
    failed = JobFailed(job_id=ID, at=5.0, attempt=0, instance="i", reason="the job could not be read")
    seen = line(failed, Known(model="Wan"))
    assert (seen["log_level"], seen["reason"]) == ("warning", "the job could not be read")
    assert (seen["attempts"], seen["steps"], seen["total_s"]) == (0, None, None)


@pytest.mark.parametrize("ours", [True, False])
def test_a_cancelled_job_has_the_same_line(ours: bool) -> None:
    seen = line(cancelled(9.0), Known(submitted=replace(submitted(), created_at=9.5), attempts=1), ours=ours)
    assert (seen["log_level"], seen["ending"], seen["ours"]) == ("info", "JobCancelled", ours)
    assert (seen["attempts"], seen["total_s"]) == (1, 0.0), "the clocks of two hosts may differ"


def test_nothing_that_a_client_has_written_is_in_the_line() -> None:
    job = replace(submitted().job, prompt=f"a boat, {PLANTED}", negative_prompt=PLANTED)
    assert PLANTED not in repr(line(succeeded(1, 2.0), Known(submitted=replace(submitted(), job=job))))


@pytest.mark.parametrize(
    ("known", "queue_s", "run_s"),
    [
        (Known(waited_s=7.0004, attempts=2), 7.0, 53.5),
        (Known(attempts=0), 60.5, 0.0),  # cancelled while it waited
        (Known(), None, None),  # who ends it does not know whether it ever started
        (Known(waited_s=-3.0), 0.0, 60.5),  # the clocks of two hosts differ
        (Known(waited_s=99.0), 99.0, 0.0),
        (Known(waited_s=5 * SECONDS_MAX), SECONDS_MAX, 0.0),
    ],
)
def test_an_ending_that_stands_alone_says_what_was_asked_for_and_how_long_it_took(
    known: Known, queue_s: float | None, run_s: float | None
) -> None:
    asked = submitted(100.0, {"order": "17"})
    ending = standing_alone(cancelled(160.5), replace(known, submitted=asked))
    assert (ending.job, ending.metadata) == (asked.job, {"order": "17"})
    assert (ending.queue_seconds, ending.run_seconds) == (queue_s, run_s)
    assert wire.decode_event(wire.encode(ending)) == ending


def test_an_ending_of_a_job_that_nobody_can_read_stays_as_it_is() -> None:
    assert standing_alone(cancelled(9.0), Known(waited_s=1.0)) == cancelled(9.0)
