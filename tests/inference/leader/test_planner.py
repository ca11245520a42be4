"""What rank 0 plans for a job: the size of its video, and what is cut off the picture."""

import io
import struct
import zlib
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.events import JobStarted
from contracts.job import input_name
from contracts.job_log import JobLog
from contracts.live_clusters import live_clusters
from contracts.stores import Folder
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_message import JobMustFail
from inference.leader.job_videos import JobVideos
from inference.leader.limits import Limits
from inference.leader.planner import AttemptPlanner, LeftToAnother
from tests.contracts.test_plan import cluster as cluster_of_ranks
from tests.contracts.test_too_large import room
from tests.kit.builders import ID, JOB, submitted

LIMITS = Limits(task_timeout_s=60, stage_timeout_s=60, stage_floor_s=1, room_bytes=0, max_attempts=3)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


CLUSTER = replace(cluster_of_ranks("one", 2), sizes=["256*144", "144*256"], default_size="256*144")


def bomb() -> bytes:
    """A PNG that says of itself that it has more pixels than Pillow opens."""
    picture = png(1, 1)
    header = picture[12:16] + struct.pack(">II", 2**16, 2**16) + picture[24:29]
    return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]


async def planner_of(link: Bus, folder: Path, picture: bytes, cluster: ClusterStatus = CLUSTER) -> AttemptPlanner:
    """Return the planner of a cluster over one store, which holds the picture of the job."""
    store = Folder(folder)
    await store.write(input_name(ID), picture)
    return AttemptPlanner(
        JobLog(link, "x"),
        videos=JobVideos(store),
        scratch=store,
        checkpoints=JobCheckpoints(store, "tiny"),
        cluster=cluster,
        clusters=partial(live_clusters, link),
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
    assert await planner.publish_start(prepared, 0.0, None)
    (stored,) = await link.read(subjects.EVENTS_STREAM, f"video.events.{ID}.started")
    started = wire.event_in(stored)
    assert isinstance(started, JobStarted)
    assert (started.width, started.height, started.cropped) == (*size, cropped)


async def test_a_picture_of_more_pixels_than_pillow_opens_fails_its_job(link: Bus, tmp_path: Path) -> None:
    planner = await planner_of(link, tmp_path, bomb())
    with pytest.raises(JobMustFail, match="the input image is damaged"):
        await planner.prepare(ID, wire.encode(submitted()))


async def test_a_job_too_large_for_this_cluster_is_left_to_a_live_one_that_can_run_it(
    link: Bus, tmp_path: Path
) -> None:
    small, large = (replace(CLUSTER, instance=f"{size}-gb", room=room(size, ranks=2)) for size in (1, 1000))
    planner = await planner_of(link, tmp_path, png(64, 48), small)
    with pytest.raises(JobMustFail, match=r"^cluster one: the job needs \S+ GB of each card"):
        await planner.prepare(ID, wire.encode(submitted()))
    await link.put_last(subjects.CLUSTERS_BUCKET, small.instance, wire.encode(small))
    with pytest.raises(JobMustFail):
        await planner.prepare(ID, wire.encode(submitted()))
    await link.put_last(subjects.CLUSTERS_BUCKET, large.instance, wire.encode(large))
    with pytest.raises(LeftToAnother):
        await planner.prepare(ID, wire.encode(submitted()))
