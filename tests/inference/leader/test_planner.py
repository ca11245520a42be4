"""What rank 0 plans for a job: the size of its video, and what is cut off the picture."""

import io
import struct
import zlib
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
from inference.leader.planner import AttemptPlanner, CannotRun
from tests.contracts.test_plan import cluster
from tests.kit.builders import ID, JOB, submitted

LIMITS = Limits(task_timeout_s=60, stage_timeout_s=60, stage_floor_s=1, room_bytes=0, max_attempts=3)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG that says of itself that it has more pixels than Pillow opens."""
    picture = png(1, 1)
    header = picture[12:16] + struct.pack(">II", 2**16, 2**16) + picture[24:29]
    return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]


async def planner_of(link: Bus, folder: Path, picture: bytes) -> AttemptPlanner:
    """Return the planner of a cluster over one store, which holds the picture of the job."""
    store = Folder(folder)
    await store.write(input_name(ID), picture)
    return AttemptPlanner(
        JobLog(link, "x"),
        videos=JobVideos(store),
        scratch=store,
        checkpoints=JobCheckpoints(store, "tiny"),
        cluster=replace(cluster("one", 2), sizes=["256*144", "144*256"], default_size="256*144"),
        limits=LIMITS,
    )


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
    planner = await planner_of(link, tmp_path, png(*picture))
    job = replace(submitted(), job=replace(JOB, image_size=asked))
    prepared = await planner.prepare(ID, wire.encode(job))
    assert (prepared.run.width, prepared.run.height) == size
    assert len(prepared.run.rgb) == 3 * size[0] * size[1]
    assert await planner.publish_start(prepared, 0.0)
    (stored,) = await link.read(subjects.EVENTS_STREAM, f"video.events.{ID}.started")
    started = wire.event_in(stored)
    assert isinstance(started, JobStarted)
    assert (started.width, started.height, started.cropped) == (*size, cropped)


async def test_a_picture_of_more_pixels_than_pillow_opens_fails_its_job(link: Bus, tmp_path: Path) -> None:
    planner = await planner_of(link, tmp_path, bomb())
    with pytest.raises(CannotRun, match="the input image is damaged"):
        await planner.prepare(ID, wire.encode(submitted()))
