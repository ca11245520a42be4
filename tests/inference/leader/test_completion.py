"""What an attempt's ending makes of the broker's answers, over a connection that loses one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, bus
from contracts.events import JobSucceeded
from contracts.job import input_name, video_name
from contracts.job_deletion import bury
from contracts.job_log import JobLog
from contracts.record import video_record_name
from contracts.stores import Folder
from inference.leader.completion import JobCompleter
from inference.leader.job_checkpoints import JobCheckpoints
from tests.contracts.test_plan import cluster
from tests.kit.broker import Broker
from tests.kit.builders import ID, cancelled, deleted, submitted, succeeded
from tests.kit.waiting import eventually

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Between client and broker. The first answer after the client has sent `marker` is lost, with its connection."""

    def __init__(self, broker: Broker, marker: bytes) -> None:
        self._broker, self._marker = broker, marker
        self._sent = False
        self.cuts = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._broker.port)
        ways = [self._there(reader, upstream_writer), self._back(upstream_reader, writer)]
        tasks = [asyncio.create_task(way) for way in ways]
        _, other = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in other:
            task.cancel()
        for each in (writer, upstream_writer):
            each.close()
            with suppress(OSError):
                await each.wait_closed()
        self.open -= 1

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            self._sent = self._sent or self._marker in chunk
            writer.write(chunk)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self._sent and self.cuts == 0:
                self.cuts += 1
                return
            writer.write(chunk)


@asynccontextmanager
async def through(proxy: Proxy) -> AsyncGenerator[Bus, None]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, bus.connect(Broker.url_at(port), name="lead") as link:
        yield link
    await eventually(lambda: proxy.open == 0)


def endings(link: Bus, folder: Path) -> JobCompleter:
    store = Folder(folder)
    checkpoints = JobCheckpoints(store, "tiny")
    job_log = JobLog(link, "i")
    return JobCompleter(job_log, videos=store, scratch=store, checkpoints=checkpoints, cluster=cluster("i", 1))


async def test_the_winner_knows_that_it_won_though_the_acknowledgement_was_lost(
    broker: Broker, link: Bus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy = Proxy(broker, b"PUB video.events." + ID.encode() + b".finished.succeeded")
    ending = succeeded(1, 1.0)
    async with through(proxy) as lossy:
        assert await endings(lossy, tmp_path).publish_ending(ending) == ending
    assert proxy.cuts == 1
    assert [event.data for event in await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))] == [
        wire.encode(ending)
    ]
    assert "job_ended" in (told := capsys.readouterr().out) and "True" in told


async def test_who_comes_second_learns_the_ending_that_the_job_has(link: Bus, tmp_path: Path) -> None:
    first = cancelled(1.0)
    await link.publish(subjects.event(first), wire.encode(first), within_s=2)
    ending = await endings(link, tmp_path).publish_ending(succeeded(1, 2.0))
    assert ending == first
    assert not isinstance(ending, JobSucceeded)


async def test_a_job_that_was_deleted_before_it_succeeded_keeps_neither_video_nor_record(
    link: Bus, tmp_path: Path
) -> None:
    """The cluster has stored the video, and its record, when it learns of the deletion."""
    store, submission = Folder(tmp_path), wire.encode(submitted())
    await link.publish(subjects.job(ID), submission, message_id=ID, within_s=2)
    delivery = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
    assert delivery is not None
    await bury(JobLog(link, "edge"), deleted(1.0))
    for name in (video_name(ID), video_record_name(ID), input_name(ID), f"checkpoints/{ID}-1-conditions.safetensors"):
        await store.write(name, b"x")
    completer = endings(link, tmp_path)
    ending = await completer.publish_ending(succeeded(1, 2.0))
    assert ending == deleted(1.0)
    await completer.acknowledge_and_clean_up(delivery, ending)
    assert [file for folder in ("", "inputs", "checkpoints") for file in await store.files(folder)] == []
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []


@pytest.mark.parametrize("has_slot", [True, False])
async def test_whoever_ends_a_job_frees_its_slot_and_no_other(link: Bus, tmp_path: Path, *, has_slot: bool) -> None:
    job_log, others = JobLog(link, "edge"), "e" * 32
    for job_id in (ID, others):
        await job_log.slots.take("one", job_id, 3)
    await job_log.queue.add(replace(submitted(), tenant="one", has_slot=has_slot), within_s=5)
    delivery = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
    assert delivery is not None
    await endings(link, tmp_path).fail(delivery, ID, 0, "no room")
    assert {slot.job_id for slot in await job_log.slots.all()} == ({others} if has_slot else {ID, others})


async def test_an_ending_stands_though_its_slot_cannot_be_freed(link: Bus, tmp_path: Path) -> None:
    job_log = JobLog(link, "edge")
    await job_log.queue.add(replace(submitted(), tenant="one", has_slot=True), within_s=5)
    await link.admin.delete_stream(subjects.SLOTS_STREAM)
    delivery = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
    assert delivery is not None
    ending = await endings(link, tmp_path).fail(delivery, ID, 0, "no room")
    assert await job_log.ending(ID) == ending
    assert await job_log.queue.all() == []
