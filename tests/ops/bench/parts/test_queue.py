"""What the bench reads out of two logs; the service itself it asks by `just bench-engine --parts queue`."""

import pytest

from contracts.events import Event, JobFailed, JobSucceeded, StageStarted
from contracts.stage_times import STAGES, Timings
from ops.bench.parts.queue import between

JOB_ID = "1" * 32
TIMINGS = Timings(load=0.1, encode=2.0, denoise=3.0, decode=4.0, mux=0.5, store=0.1)
SUCCEEDED = JobSucceeded(
    job_id=JOB_ID, at=130.0, attempt=1, instance="a", video_url="", video_path="", width=64, height=48,
    num_frames=25, duration=1.0, size_bytes=1, sha256="0" * 64, seed=1, timings=TIMINGS,
)  # fmt: skip
FAILED = JobFailed(job_id=JOB_ID, at=130.0, attempt=1, instance="a", reason="it could not be done")


def stages(**began_at: float) -> list[Event]:
    return [
        StageStarted(job_id=JOB_ID, at=began_at[stage], attempt=1, stage=stage, progress=0)
        for stage in STAGES
        if stage in began_at
    ]


def test_the_gap_is_from_one_jobs_decoded_video_to_the_next_ones_first_step() -> None:
    before = stages(encode=90, denoise=92, decode=95, store=100)
    after = [*stages(encode=100.1, denoise=102.2, decode=120, store=125), SUCCEEDED]
    gap_s, encode_s = between(before, after)
    assert gap_s == pytest.approx(2.2)
    assert encode_s == TIMINGS.encode


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (stages(encode=90), [*stages(encode=100, denoise=102), SUCCEEDED]),
        (stages(store=100), [*stages(encode=100, denoise=102), FAILED]),
    ],
)
def test_a_job_that_did_not_run_through_is_no_sample(before: list[Event], after: list[Event]) -> None:
    with pytest.raises(ValueError, match="the job"):
        between(before, after)
