"""Deleted jobs: what the state service purges, what a crash at any point leaves it to complete, and what comes late."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Event, JobSubmitted, JobSucceeded
from contracts.job import input_name, video_name
from contracts.job_deletion import bury
from contracts.job_log import JobLog
from contracts.record import Record, record_name
from contracts.stores import Folder
from contracts.video_files import files_of
from ops.replay import replay
from services.state.deletions import Deletions
from services.state.index import trim_index
from services.state.reconcile import reconcile
from services.state.records import Records
from services.state.retention import Retention
from tests.kit.broker import Broker
from tests.kit.builders import ID, JOB, cancelled, deleted, failed, released, started, step, submitted, succeeded
from tests.kit.process import Process
from tests.kit.waiting import eventually
from tests.services.state.test_materialise import NOW, caught_up, publish, state, status
from tests.services.state.test_retention import LIMITS

OTHER = "f" * 32
LIFE: list[Event] = [submitted(NOW), started(1, NOW), step(1, NOW + 1, 3, 0.3)]
PURGES = 4
"""How many purges one deletion takes."""

# `python -m services.state` that is killed at a purge: before it if KILLED_AT is even, else after it.
DYING = """
import os, signal, sys, uvloop
from contracts.broker import Bus
from contracts.process import env, start
from services.state import __main__ as state
purge, times = Bus.purge, 0
async def purge_and_die(self, *arguments, **named):
    global times
    times += 1
    mine = times
    if mine == {number} and not {after}: os.kill(os.getpid(), signal.SIGKILL)
    await purge(self, *arguments, **named)
    if mine == {number}: os.kill(os.getpid(), signal.SIGKILL)
Bus.purge = purge_and_die
start.configure("state")
sys.exit(0 if uvloop.run(state.serve(env.read(state.Settings))) else 1)
"""


async def kinds(link: Bus, job_id: str = ID) -> list[str]:
    """The kinds of events that the log has of a job."""
    return [
        each.subject.split(".", 3)[3] for each in await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
    ]


async def index(link: Bus) -> list[str]:
    stored = await link.read(subjects.bucket_stream(subjects.INDEX_BUCKET), ">")
    return [subjects.job_id_of(entry.subject) for entry in stored]


async def purged(link: Bus, job_id: str = ID) -> bool:
    """Whether the job's events and status are gone, and it has its tombstone."""
    return (
        await kinds(link, job_id) == ["finished.deleted"]
        and await link.get(subjects.STATUS_BUCKET, job_id) is None
        and await JobLog(link, "test").tombstones.find(job_id) is not None
    )


async def nothing_is_left(link: Bus, job_id: str = ID) -> bool:
    return await purged(link, job_id) and job_id not in await index(link)


async def indexed(link: Bus, job_id: str = ID) -> None:
    """Wait until the broker has copied a submission into the index."""

    async def there() -> bool:
        return job_id in await index(link)

    await eventually(there)


async def copied(link: Bus, entries: int) -> None:
    """Wait until the broker has copied so many submissions into the index, whether they are still there or not."""

    async def all_copied() -> bool:
        return (await link.stream(subjects.bucket_stream(subjects.INDEX_BUCKET))).state.last_seq >= entries

    await eventually(all_copied)


def log_of(link: Bus) -> JobLog:
    return JobLog(link, "edge")


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("ending", [None, succeeded(1, NOW + 2), failed(1, NOW + 2), cancelled(NOW + 2)])
async def test_of_a_deleted_job_id_and_time_alone_are_left(link: Bus, instances: int, ending: Event | None) -> None:
    other = replace(submitted(NOW), job_id=OTHER)
    async with state(link, instances=instances):
        await publish(link, *LIFE, *([] if ending is None else [ending]), other)
        await caught_up(link)
        await indexed(link, OTHER)
        assert await status(link) is not None
        await bury(log_of(link), deleted(NOW + 3))
        await eventually(lambda: nothing_is_left(link))
        await caught_up(link)
    assert await link.get(subjects.STATUS_BUCKET, OTHER) is not None
    assert await kinds(link, OTHER) == ["submitted"]
    assert await index(link) == [OTHER]


@pytest.mark.parametrize(
    "late", [submitted(NOW), started(1, NOW + 4), step(2, NOW + 4, 5, 0.5), released(1, NOW + 4), succeeded(1, NOW + 4)]
)
async def test_what_comes_late_of_a_deleted_job_goes_too(link: Bus, late: Event) -> None:
    """A late copy of the submission, a late start or report, and a late ending from one who expects nothing there."""
    async with state(link):
        await publish(link, *LIFE)
        await caught_up(link)
        await indexed(link)
        await bury(log_of(link), deleted(NOW + 3))
        await eventually(lambda: nothing_is_left(link))
        if isinstance(late, JobSucceeded):
            assert await JobLog(link, "rank").publish_ending(late) == deleted(NOW + 3)
        else:
            await link.publish(subjects.event(late), wire.encode(late), within_s=2)
        await caught_up(link)
        await eventually(lambda: purged(link))
        await copied(link, 2 if isinstance(late, JobSubmitted) else 1)
        await Deletions(link, log_of(link)).repair()  # the broker may copy a late submission after the purge
        assert await nothing_is_left(link)


async def test_a_replay_brings_no_deleted_job_back(link: Bus) -> None:
    other = replace(submitted(NOW), job_id=OTHER)
    async with state(link, retention_s=1000):
        await publish(link, *LIFE, failed(1, NOW), other)
        await indexed(link, OTHER)
        await bury(log_of(link), deleted(NOW + 3))
        await caught_up(link)
        assert (await replay(link)).statuses == 1
        assert await nothing_is_left(link)
        assert await index(link) == [OTHER]


class Clean:
    """A clean-up as `services.state` does it, on stores in a folder."""

    def __init__(self, link: Bus, folder: Path) -> None:
        self.link, self.log = link, JobLog(link, "state")
        self.videos, self.scratch = Folder(folder / "videos"), Folder(folder / "scratch")
        self.deletions, self.records = Deletions(link, self.log), Records(self.log, self.videos)
        self.retention = Retention(self.log, self.videos, self.scratch, LIMITS)

    async def up(self) -> set[str]:
        deleted = await self.deletions.repair()
        unfinished = await reconcile(self.log, self.records, deleted)
        await self.retention.delete_outdated(unfinished, deleted)
        await trim_index(self.link, self.log)
        await self.records.repair(unfinished, settled_s=0)
        return unfinished

    async def files(self) -> list[str]:
        found = [
            await store.files(folder)
            for store in (self.videos, self.scratch)
            for folder in ("", "jobs", "inputs", "checkpoints")
        ]
        return [file.name for files in found for file in files]


@pytest.fixture
def clean(link: Bus, tmp_path: Path) -> Clean:
    return Clean(link, tmp_path)


async def enqueue(link: Bus, event: Event) -> None:
    await link.publish(subjects.job(event.job_id), wire.encode(event), message_id=event.job_id, within_s=2)
    await eventually(lambda: link.read(subjects.EVENTS_STREAM, subjects.submission_of(event.job_id)))


async def test_a_deletion_that_an_edge_began_is_completed_by_a_clean_up(link: Bus, clean: Clean) -> None:
    """The edge dies after the tombstone: job, queue, files and record are still there."""
    await enqueue(link, submitted(NOW))
    await indexed(link)
    ending = succeeded(1, NOW + 1)
    await publish(link, started(1, NOW), ending)
    record = wire.encode_record(Record(submitted=submitted(NOW), ending=ending))
    for name in files_of(ID):
        await clean.videos.write(name, record)
    for name in (input_name(ID), input_name(ID, "0" * 8), f"checkpoints/{ID}-1-conditions.safetensors"):
        await clean.scratch.write(name, b"x")
    await clean.scratch.write(input_name(OTHER), b"x")
    await clean.log.tombstones.put(deleted(NOW + 2))
    assert await clean.up() == set()
    assert await nothing_is_left(link)
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert await clean.files() == [input_name(OTHER)]
    for _ in range(2):
        assert await clean.up() == set()
        assert await nothing_is_left(link)


async def test_a_deletion_without_its_tombstone_gets_one(link: Bus, clean: Clean) -> None:
    await publish(link, submitted(NOW), deleted(NOW + 2))
    await clean.up()
    assert await nothing_is_left(link)


@pytest.mark.parametrize("late", [[succeeded(1, NOW)], [submitted(NOW)], [submitted(NOW), failed(1, NOW)]])
async def test_what_comes_once_the_log_has_forgotten_the_deletion_brings_nothing_back(
    link: Bus, clean: Clean, late: Sequence[Event]
) -> None:
    await bury(log_of(link), deleted(NOW))
    await link.admin.purge_stream(subjects.EVENTS_STREAM)
    await publish(link, *late)
    await clean.videos.write(video_name(ID), b"a video")
    await clean.up()
    assert await nothing_is_left(link)
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert await clean.files() == []


@pytest.mark.parametrize("ending", [succeeded(1, NOW), failed(1, NOW)])
async def test_a_record_that_was_written_late_goes_and_brings_nothing_back(
    link: Bus, clean: Clean, ending: Event
) -> None:
    await bury(log_of(link), deleted(NOW))
    await link.admin.purge_stream(subjects.EVENTS_STREAM)
    record = Record(submitted=submitted(NOW), ending=ending)  # pyright: ignore[reportArgumentType]
    await clean.videos.write(record_name(record.ending), wire.encode_record(record))
    await clean.records.repair(set(), settled_s=0)
    assert not await clean.records.restore_ending(ID)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []
    await clean.up()
    assert await clean.files() == []


async def test_a_job_that_is_deleted_while_a_clean_up_reads_is_not_lost(link: Bus, clean: Clean) -> None:
    """It is in the log's list, then gone from the queue: it looks like one that a damaged disk has lost."""
    await enqueue(link, submitted(NOW))
    queued = await clean.log.queue.find(ID)
    assert queued is not None
    await clean.log.tombstones.put(deleted(NOW))
    await clean.log.queue.remove(queued)
    await reconcile(clean.log, clean.records)
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []


async def test_a_status_or_an_entry_that_was_written_late_goes(link: Bus, clean: Clean) -> None:
    await bury(clean.log, deleted(NOW))
    await link.put(subjects.STATUS_BUCKET, ID, b"{}", revision=0)
    await clean.up()
    assert await nothing_is_left(link)


async def test_a_token_that_is_a_wildcard_purges_nothing(link: Bus, clean: Clean) -> None:
    await publish(link, *LIFE)
    await bury(clean.log, replace(deleted(NOW), job_id=OTHER))
    for token in ("*", ">"):
        await clean.deletions.purge(token)
    assert await kinds(link) == ["submitted", "started", "step"]


async def test_events_of_a_job_that_is_not_deleted_stay(link: Bus, clean: Clean) -> None:
    await publish(link, *LIFE, failed(1, NOW))
    await clean.deletions.purge(ID)
    assert await kinds(link) == ["submitted", "started", "step", "finished.failed"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, PURGES + 1))
async def test_a_state_that_is_killed_at_a_purge_leaves_it_to_the_next(
    broker: Broker, link: Bus, tmp_path: Path, number: int, after: bool
) -> None:
    stores = {"VIDEO_STORE_URL": str(tmp_path / "videos"), "SCRATCH_STORE_URL": str(tmp_path / "scratch")}
    await publish(link, *LIFE, cancelled(NOW + 2))
    await indexed(link)
    async with state(link):
        await caught_up(link)
    await bury(log_of(link), deleted(NOW + 3))
    program = DYING.format(number=number, after=after)
    dying = Process(["-c", program], tmp_path / "dying.log", **broker.environment, **stores)
    assert await asyncio.to_thread(dying.run, 30) == -signal.SIGKILL
    next_one = Process(["-m", "services.state"], tmp_path / "next.log", **broker.environment, **stores).start()
    try:
        await eventually(lambda: nothing_is_left(link), within_s=30)
    finally:
        await asyncio.to_thread(next_one.stop)


async def test_the_index_forgets_what_a_full_log_has_forgotten(link: Bus) -> None:
    ids = [f"{n:032x}" for n in range(4)]
    await publish(link, *(replace(submitted(NOW), job_id=job_id) for job_id in ids))
    await indexed(link, ids[-1])
    await trim_index(link, log_of(link))
    assert await index(link) == ids
    third = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(ids[2]))
    assert third is not None
    await link.purge(subjects.EVENTS_STREAM, subjects.ALL_EVENTS, before=third.sequence)
    await trim_index(link, log_of(link))
    assert await index(link) == ids[2:]


async def test_the_words_of_a_deleted_job_are_on_no_disk_of_log_and_index(broker: Broker, link: Bus) -> None:
    words = "a boat that nobody else has seen"
    await publish(link, replace(submitted(NOW), job=replace(JOB, prompt=words)), *LIFE[1:])
    await indexed(link)

    def holding() -> set[str]:
        blocks = (path for path in broker.store.rglob("*.blk") if words.encode() in path.read_bytes())
        return {path.parent.parent.name for path in blocks}

    assert holding() == {subjects.EVENTS_STREAM, subjects.bucket_stream(subjects.INDEX_BUCKET)}
    await bury(log_of(link), deleted(NOW))
    await Deletions(link, log_of(link)).purge(ID)
    assert holding() == set()
