import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.bounds import REASON_CHARS_MAX
from contracts.broker import Bus
from contracts.events import Event
from contracts.job_log import JobLog
from contracts.status import JobStatus
from contracts.stores import Folder
from services.state.materialise import materialise
from services.state.own_numbers import StateNumbers
from services.state.records import Records
from tests.kit.broker import all_folded
from tests.kit.builders import ID, cancelled, failed, released, started, step, submitted, succeeded
from tests.kit.waiting import eventually

RETENTION_S = 100.0
NOWHERE = Path("/proc/nowhere")  # a store that fails: folding goes on without records
NOW = time.time() + 3600  # so that what ends then has not expired, however late the test runs


@asynccontextmanager
async def state(
    link: Bus, *, instances: int = 1, retention_s: float = RETENTION_S, videos: Path = NOWHERE
) -> AsyncGenerator[None, None]:
    stop = asyncio.Event()
    records = Records(JobLog(link, "state"), Folder(videos))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(instances):
            tasks.create_task(
                materialise(link, JobLog(link, "state"), records, StateNumbers(), retention_s=retention_s, stop=stop)
            )
        yield
        stop.set()


async def publish(link: Bus, *events: Event) -> None:
    for event in events:
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)


async def caught_up(link: Bus) -> None:
    await eventually(lambda: all_folded(link))


async def status(link: Bus) -> JobStatus | None:
    found = await link.get(subjects.STATUS_BUCKET, ID)
    return None if found is None else wire.decode_status(found.data)


@pytest.mark.parametrize("instances", [1, 2])
async def test_events_become_a_status_in_the_bucket(link: Bus, instances: int) -> None:
    steps = [step(1, NOW + n, n, n / 25) for n in range(1, 21)]
    async with state(link, instances=instances):
        await publish(link, submitted(NOW), started(1, NOW), *steps, succeeded(1, NOW + 30))
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert (found.status, found.progress, found.created_at) == ("Succeed", 1.0, NOW)


async def test_a_status_that_somebody_deleted_is_written_again_and_holds_nothing_up(link: Bus) -> None:
    async with state(link):
        await publish(link, submitted(NOW))
        await caught_up(link)
        await link.put_last(subjects.STATUS_BUCKET, ID, b"")
        await publish(link, started(1, NOW))
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert found.status == "InProgress"


async def test_an_undecodable_event_is_set_aside_and_the_log_goes_on(
    link: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    async with state(link):
        await link.publish(f"video.events.{ID}.step", b"not json", within_s=2)
        await link.publish(f"video.events.{'f' * 32}.submitted", wire.encode(submitted()), within_s=2)
        await publish(link, submitted())
        await caught_up(link)
    assert (await status(link)) is not None
    assert await link.get(subjects.STATUS_BUCKET, "f" * 32) is None
    assert capsys.readouterr().out.count("event_set_aside") == 2
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 2


async def test_an_ending_that_cannot_be_read_ends_its_job_and_is_counted(link: Bus) -> None:
    async with state(link):
        await publish(link, submitted(NOW), started(1, NOW))
        await link.publish(f"video.events.{ID}.finished.succeeded", b"{", within_s=2)
        await link.publish("video.events.x", b"{", within_s=2)
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert (found.status, found.reason) == ("Failed", "its ending cannot be read")
    assert abs(found.updated_at - time.time()) < 60
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 2


@pytest.mark.parametrize("counter", [b"banana", b"9" * 5000, b"-1", b"\xff", b"1.5"])
async def test_a_counter_that_is_no_number_stops_nothing(link: Bus, counter: bytes) -> None:
    await link.put_last(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE, counter)
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 0
    async with state(link):
        await link.publish(f"video.events.{ID}.step", b"not json", within_s=2)
        await publish(link, submitted())
        await caught_up(link)
    assert (await status(link)) is not None
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 1


async def test_a_status_that_the_broker_refuses_for_its_size_is_set_aside_and_the_log_goes_on(link: Bus) -> None:
    bucket = (await link.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))).config
    bucket.max_msg_size = 1000
    await link.admin.update_stream(bucket)
    other = "f" * 32
    async with state(link):
        await publish(link, submitted(NOW))
        await caught_up(link)
        await publish(link, replace(failed(1, NOW), reason="x" * REASON_CHARS_MAX))
        await publish(link, replace(submitted(NOW), job_id=other))
        await caught_up(link)
    assert await link.get(subjects.STATUS_BUCKET, other) is not None
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 1


async def test_a_reason_longer_than_any_of_ours_is_an_ending_that_cannot_be_read(link: Bus) -> None:
    ending = wire.encode(failed(1, NOW)).replace(b"no room", b"x" * 60_000)
    async with state(link):
        await publish(link, submitted(NOW))
        await link.publish(subjects.event(failed(1, NOW)), ending, within_s=2)
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert (found.status, found.reason) == ("Failed", "its ending cannot be read")


async def test_a_status_lives_by_the_brokers_clock_whatever_this_machines_says(
    link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 24 * 3600)
    async with state(link, retention_s=60):
        await publish(link, submitted(), cancelled(1.0))
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert found.status == "Cancelled"


async def test_a_job_that_a_newer_version_accepted_waits_in_the_queue(link: Bus) -> None:
    newer = wire.encode(submitted()).replace(b'"unipc"', b'"a_newer_solver"')
    async with state(link):
        await link.publish(f"video.events.{ID}.submitted", newer, within_s=2)
        await caught_up(link)
    found = await status(link)
    assert found is not None
    assert found.status == "InQueue"
    assert found.created_at is not None


async def test_an_ended_status_expires(link: Bus) -> None:
    async with state(link, retention_s=2):
        await publish(link, submitted(), cancelled(time.time()))
        await caught_up(link)

    async def gone() -> bool:
        return await status(link) is None

    await eventually(gone)


async def test_what_the_bucket_says_of_a_job_that_ended_long_ago_unseen_goes(link: Bus) -> None:
    async with state(link):
        await publish(link, submitted())
        await caught_up(link)
    await publish(link, cancelled(NOW))
    assert await status(link) is not None
    async with state(link, retention_s=0):
        await caught_up(link)

    async def gone() -> bool:
        return await status(link) is None

    await eventually(gone)


async def test_a_late_event_does_not_revive_an_expired_job(link: Bus) -> None:
    await publish(link, submitted(), cancelled(NOW), step(1, 2.0, 3, 0.3), released(1, 3.0))
    async with state(link, retention_s=0):
        await caught_up(link)
    assert await status(link) is None


async def test_a_dropped_bucket_is_folded_again_byte_for_byte(link: Bus) -> None:
    async with state(link):
        await publish(link, submitted(NOW), started(1, NOW), step(1, NOW + 1, 3, 0.3), released(1, NOW + 2))
        await caught_up(link)
        before = await link.get(subjects.STATUS_BUCKET, ID)
        await link.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
        await link.admin.reset_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, 1)
        await caught_up(link)
    after = await link.get(subjects.STATUS_BUCKET, ID)
    assert before is not None and after is not None
    assert after.data == before.data
