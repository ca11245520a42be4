"""What rank 0 plans for a job: the size of its video, and what is cut off the picture."""

import io
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobStarted
from contracts.job import input_name
from contracts.job_log import JobLog
from contracts.stores import Folder
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_videos import JobVideos
from inference.leader.limits import Limits
from inference.leader.planner import AttemptPlanner
from tests.contracts.test_plan import cluster
from tests.kit.builders import ID, JOB, submitted

LIMITS = Limits(task_timeout_s=60, stage_timeout_s=60, stage_floor_s=1, room_bytes=0, max_attempts=3)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("picture", "asked", "size", "cropped"),
    [
        ((90, 160), "auto", (144, 256), 0.0),
        ((160, 90), "auto", (256, 144), 0.0),
        ((90, 160), None, (256, 144), 0.6836),
        ((90, 160), "144*256", (144, 256), 0.0),
        ((100, 100), "auto", (256, 144), 0.4375),
    ],
)
async def test_the_size_that_auto_means_is_decided_when_the_job_runs_and_the_log_says_what_is_cut(
    link: Bus, tmp_path: Path, *, picture: tuple[int, int], asked: str | None, size: tuple[int, int], cropped: float
) -> None:
    store = Folder(tmp_path)
    await store.write(input_name(ID), png(*picture))
    here = replace(cluster("one", 2), sizes=["256*144", "144*256"], default_size="256*144")
    planner = AttemptPlanner(
        JobLog(link, "x"),
        videos=JobVideos(store),
        scratch=store,
        checkpoints=JobCheckpoints(store, "tiny"),
        cluster=here,
        limits=LIMITS,
    )
    job = replace(submitted(), job=replace(JOB, image_size=asked))
    prepared = await planner.prepare(ID, wire.encode(job))
    assert (prepared.run.width, prepared.run.height) == size
    assert len(prepared.run.rgb) == 3 * size[0] * size[1]
    assert await planner.claim(prepared, 0.0)
    (stored,) = await link.read(subjects.EVENTS_STREAM, f"video.events.{ID}.started")
    started = wire.event_in(stored)
    assert isinstance(started, JobStarted)
    assert (started.width, started.height, started.cropped) == (*size, cropped)
