"""Deleting a job: what every interface answers afterwards, and what an edge leaves that is killed halfway."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobCancelled, JobDeleted, JobStarted
from contracts.job import JobRequest, input_name, video_name
from contracts.job_log import JobLog
from contracts.stores import Folder
from contracts.tenant import Tenant
from contracts.video_files import files_of
from ops import provision
from services.edge.body.bodies import Submission
from services.edge.errors import Deleted, NotFound
from services.edge.identities import Identities
from services.edge.job_status import ENDED_KEPT_S
from services.edge.jobs import Jobs
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge, picture, post, submit
from tests.kit.process import PLANTED, Process
from tests.kit.waiting import eventually
from tests.services.edge.test_edge import end_succeeded
from tests.services.state.test_deletions import nothing_is_left

RETENTION_S = 1800.0
KEY = {"Idempotency-Key": f"once-{PLANTED}"}
BODY = {"prompt": "a small boat sails over a calm sea", "image_url": picture(), "num_frames": 25}
WRITES = 10
"""What an edge changes to delete a job: tombstone, log, queue, input, checkpoint, the record without a video, and a
video with what lies beside it."""

# An edge's deletion of the job in JOB_ID, killed before the write of that number.
DYING = """
import asyncio, os, signal
from pathlib import Path
from contracts.broker import Bus, bus
from contracts.stores import Folder
from services.edge.jobs import Jobs
times = 0
def counted(write):
    async def write_or_die(self, *arguments, **named):
        global times
        times += 1
        if times == {number}: os.kill(os.getpid(), signal.SIGKILL)
        return await write(self, *arguments, **named)
    return write_or_die
for kind, names in ((Bus, ("publish", "delete")), (Folder, ("delete",))):
    for name in names:
        setattr(kind, name, counted(getattr(kind, name)))
async def main():
    async with bus.connect("{url}", name="edge") as link:
        await Jobs(link, Folder(Path("{videos}")), Folder(Path("{scratch}")), retention_s=60).delete("{job_id}")
asyncio.run(main())
"""


def jobs_of(link: Bus, edge: Edge) -> Jobs:
    """The jobs as another edge on the same stores sees them."""
    return Jobs(link, Folder(edge.videos), Folder(edge.scratch), retention_s=RETENTION_S)


@asynccontextmanager
async def state(broker: Broker, edge: Edge, folder: Path, **variables: str) -> AsyncGenerator[Process, None]:
    stores = {"VIDEO_STORE_URL": str(edge.videos), "SCRATCH_STORE_URL": str(edge.scratch)}
    process = Process(["-m", "services.state"], folder / "state.log", **broker.environment, **stores, **variables)
    process.start()
    try:
        await eventually(lambda: "state_ready" in process.text)
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def answers(client: aiohttp.ClientSession, edge: Edge, job_id: str) -> list[int]:
    """What status (twice), cancel and video are answered with."""
    codes = [
        (await post(client, f"{edge.url}/video/{path}", {"requestId": job_id}))[0] for path in ("status", "cancel")
    ]
    for path in (f"/video/status/{job_id}", f"/videos/{job_id}.mp4"):
        async with client.get(edge.url + path) as answer:
            codes.append(answer.status)
    return codes


def files(edge: Edge) -> list[Path]:
    """The files in an edge's stores."""
    return [path for store in (edge.scratch, edge.videos) for path in store.glob("**/*") if path.is_file()]


async def submitted_under_key(client: aiohttp.ClientSession, edge: Edge) -> str:
    code, body = await post(client, f"{edge.url}/video/submit", BODY, KEY)
    assert code == 202
    return body["requestId"]


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("ended", [True, False])
async def test_a_deleted_job_is_404_everywhere_and_410_under_its_key(
    client: aiohttp.ClientSession,
    edge: Edge,
    broker: Broker,
    link: Bus,
    tmp_path: Path,
    *,
    with_state: bool,
    ended: bool,
) -> None:
    job_id = await submitted_under_key(client, edge)
    if ended:
        await end_succeeded(link, job_id)
        for name in files_of(job_id):
            await Folder(edge.videos).write(name, b"abc")
    jobs = jobs_of(link, edge)
    if with_state:
        async with state(broker, edge, tmp_path):
            await jobs.delete(job_id)
            await eventually(lambda: nothing_is_left(link, job_id))  # a slow purge is left to state
    else:
        await jobs.delete(job_id)
    assert await answers(client, edge, job_id) == [404] * 4
    with pytest.raises(NotFound):
        await jobs.delete(job_id)
    with pytest.raises(NotFound):
        await jobs.find(job_id)
    assert (await jobs.page(limit=20)).jobs == []
    code, body = await post(client, f"{edge.url}/video/submit", BODY, KEY)
    assert (code, body["error"]) == (410, "DELETED")
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert files(edge) == []


async def test_an_edge_that_showed_how_a_job_ended_hears_that_it_is_deleted(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    await end_succeeded(link, job_id)
    await Folder(edge.videos).write(video_name(job_id), b"abc")
    seen = await answers(client, edge, job_id)
    assert seen == [200, 409, 200, 200]
    await jobs_of(link, edge).delete(job_id)
    began = time.monotonic()

    async def gone() -> bool:
        return await answers(client, edge, job_id) == [404] * 4

    await eventually(gone, within_s=ENDED_KEPT_S + 1)
    assert time.monotonic() - began < ENDED_KEPT_S


async def test_a_deletion_is_known_once_the_log_has_forgotten_it(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = await submitted_under_key(client, edge)
    await jobs_of(link, edge).delete(job_id)
    await link.admin.purge_stream(subjects.EVENTS_STREAM)
    code, body = await post(client, f"{edge.url}/video/submit", BODY, KEY)
    assert (code, body["error"]) == (410, "DELETED")
    await Folder(edge.videos).write(video_name(job_id), b"late")
    with pytest.raises(NotFound):
        await jobs_of(link, edge).delete(job_id)


async def test_a_video_whose_job_the_log_has_forgotten_can_be_deleted(edge: Edge, link: Bus) -> None:
    job_id, jobs = "a" * 32, jobs_of(link, edge)
    with pytest.raises(NotFound):
        await jobs.delete(job_id)
    await Folder(edge.videos).write(video_name(job_id), b"abc")
    await jobs.delete(job_id)
    assert not (edge.videos / video_name(job_id)).exists()


async def test_a_job_is_deleted_however_it_ends_meanwhile(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    for _ in range(5):
        job_id = (await submit(client, edge))[1]["requestId"]
        ending = JobCancelled(job_id=job_id, at=time.time())
        await asyncio.gather(jobs_of(link, edge).delete(job_id), JobLog(link, "other").publish_ending(ending))
        assert isinstance(await JobLog(link, "reader").ending(job_id), JobDeleted)
        assert (await submit(client, edge))[0] == 202  # its place in the queue is free
        await link.admin.purge_stream(subjects.JOBS_STREAM)


@pytest.mark.parametrize("number", range(1, WRITES + 2))
async def test_an_edge_that_is_killed_before_a_write_leaves_the_rest_to_state(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, tmp_path: Path, *, number: int
) -> None:
    job_id = await submitted_under_key(client, edge)
    started = JobStarted(job_id=job_id, at=1.0, attempt=1, instance="c1", width=64, height=48, num_frames=25)
    await link.publish(subjects.event(started), wire.encode(started), within_s=2)
    for name in files_of(job_id):
        await Folder(edge.videos).write(name, b"abc")
    await Folder(edge.scratch).write(f"checkpoints/{job_id}-1-conditions.safetensors", b"abc")
    stores = {"videos": edge.videos, "scratch": edge.scratch}
    program = DYING.format(number=number, url=broker.url, job_id=job_id, **stores)
    dying = Process(["-c", program], tmp_path / "dying.log")
    code = await asyncio.to_thread(dying.run, 30)
    assert code == (-signal.SIGKILL if number <= WRITES else 0), dying.text
    async with state(broker, edge, tmp_path, CLEANUP_INTERVAL="0.5"):
        if number == 1:  # nothing was written: the job is as it was
            assert await answers(client, edge, job_id) != [404] * 4
            return
        await eventually(lambda: nothing_is_left(link, job_id))
        await eventually(lambda: not files(edge))
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert await answers(client, edge, job_id) == [404] * 4
    assert (await post(client, f"{edge.url}/video/submit", BODY, KEY))[0] == 410


async def test_two_edges_that_delete_a_job_at_once_delete_it(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    both = await asyncio.gather(*(jobs_of(link, edge).delete(job_id) for _ in range(2)), return_exceptions=True)
    assert all(answer is None or isinstance(answer, NotFound) for answer in both)
    assert None in both
    assert await answers(client, edge, job_id) == [404] * 4
    assert not (edge.scratch / input_name(job_id)).exists()


async def test_a_submission_that_was_under_way_when_its_job_was_deleted_does_not_bring_it_back(
    edge: Edge, link: Bus, broker: Broker
) -> None:
    """The queue no longer knows the message id of the deleted job, as after two minutes or a restart."""
    jobs, request = jobs_of(link, edge), JobRequest(prompt="a small boat at sea", image_url="x")
    identity = await Identities(link).identify(Submission(request), key="once", attempt=None)
    assert not await jobs.is_repeat(identity)
    assert await jobs.store_input_and_enqueue(request, b"png", identity, Tenant(), remixed_from=None)
    await jobs.delete(identity.job_id)
    await link.admin.delete_stream(subjects.JOBS_STREAM)
    await provision.provision(link, provision_settings(broker))
    with pytest.raises(Deleted):
        await jobs.store_input_and_enqueue(request, b"png", identity, Tenant(), remixed_from=None)
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert files(edge) == []
