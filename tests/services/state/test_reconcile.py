import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Ending
from contracts.job_log import JobLog
from contracts.process import tracing
from contracts.record import Record, record_name
from contracts.stores import Folder
from ops import provision
from services.state.reconcile import reconcile
from services.state.records import Records
from tests.kit.broker import Broker
from tests.kit.builders import ID, cancelled, failed, submitted, succeeded
from tests.kit.waiting import eventually

OTHER = "f" * 32


@pytest.fixture
def records(link: Bus, tmp_path: Path) -> Records:
    return Records(JobLog(link, "state"), Folder(tmp_path / "videos"))


async def enqueue(link: Bus, job_id: str) -> bytes:
    payload = wire.encode(submitted()).replace(ID.encode(), job_id.encode())
    await link.publish(subjects.job(job_id), payload, message_id=job_id, within_s=2)
    return payload


async def lose_the_copy(link: Bus, job_id: str) -> None:
    """Delete the broker's copy of a submission from the log, once the broker has stored it there."""
    await eventually(lambda: link.read(subjects.EVENTS_STREAM, subjects.submission_of(job_id)))
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.submission_of(job_id))


async def test_a_job_whose_copy_is_missing_is_copied_into_the_log_once(
    broker: Broker, link: Bus, records: Records
) -> None:
    """Reconcile after a broker that died between storing a job and copying the job into the log."""
    payload = await enqueue(link, ID)
    await enqueue(link, OTHER)
    await lose_the_copy(link, ID)
    broker.kill()
    broker.start()
    await link.wait_for_streams(subjects.EVENTS_STREAM, stop=asyncio.Event())
    for _ in range(2):
        assert await reconcile(JobLog(link, "state"), records) == {ID, OTHER}
    for job_id in (ID, OTHER):
        copies = await link.read(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        assert len(copies) == 1
    copy = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(ID))
    assert copy is not None and copy.data == payload


async def test_a_copy_that_is_only_late_does_not_come_twice(link: Bus, records: Records) -> None:
    """Copy with the message id of the broker's own copy, so that the log drops the later of the two."""
    await enqueue(link, ID)
    await lose_the_copy(link, ID)  # the broker still knows its message id
    await reconcile(JobLog(link, "state"), records)
    assert await link.read(subjects.EVENTS_STREAM, subjects.submission_of(ID)) == []


@pytest.mark.parametrize("garbage", [False, True])
async def test_an_ended_job_is_taken_from_the_queue(link: Bus, records: Records, garbage: bool) -> None:
    await enqueue(link, ID)
    await enqueue(link, OTHER)
    ending = cancelled(1.0)
    await link.publish(subjects.event(ending), b"{" if garbage else wire.encode(ending), within_s=2)
    assert await reconcile(JobLog(link, "state"), records) == {OTHER}
    queued = await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)
    assert [subjects.job_id_of(job.subject) for job in queued] == [OTHER]


async def lose_from_the_queue(link: Bus, job_id: str) -> None:
    """Delete a message from the queue together with its message id, as a damaged block does."""
    await link.admin.delete_stream(subjects.JOBS_STREAM)
    await provision.provision(link, provision.Settings(nats_durability_unchecked=True))
    await enqueue(link, OTHER)


async def test_a_job_that_the_queue_has_lost_comes_back_into_it_once(link: Bus, records: Records) -> None:
    payload = await enqueue(link, ID)
    await lose_from_the_queue(link, ID)
    for _ in range(2):
        assert await reconcile(JobLog(link, "state"), records) == {ID, OTHER}
    queued = await link.read(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID))
    assert [job.data for job in queued] == [payload]
    assert len(await link.read(subjects.EVENTS_STREAM, subjects.submission_of(ID))) == 1


TRACED = f"00-{'a' * 32}-{'b' * 16}-01"


async def test_a_job_that_comes_back_stays_in_its_trace(
    link: Bus, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contracts.process.tracing._Tracing.tracer", object())  # on; nothing here begins a span
    with tracing.joined(TRACED):
        await enqueue(link, ID)
    await lose_from_the_queue(link, ID)
    await reconcile(JobLog(link, "state"), records)
    (back,) = await link.read(subjects.JOBS_STREAM, subjects.job(ID, subjects.REQUEUED_LANE))
    assert back.traceparent == TRACED


async def test_a_job_that_is_lost_right_after_its_submission_is_back_when_it_is_said_to_be(
    link: Bus, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    """The queue remembers the message id of what it has lost, and takes the same one for a repeat."""
    payload = await enqueue(link, ID)
    await link.admin.purge_stream(subjects.JOBS_STREAM)
    for _ in range(2):
        assert await reconcile(JobLog(link, "state"), records) == {ID}
        queued = await link.read(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID))
        assert [job.data for job in queued] == [payload]
    assert capsys.readouterr().out.count("lost_job_brought_back") == 1


async def test_a_lost_job_comes_back_once_the_queue_has_room(link: Bus, records: Records) -> None:
    await enqueue(link, ID)
    await link.admin.delete_stream(subjects.JOBS_STREAM)
    await provision.provision(link, provision.Settings(nats_durability_unchecked=True, max_concurrent_tasks=1))
    await enqueue(link, OTHER)
    assert await reconcile(JobLog(link, "state"), records) == {ID, OTHER}
    assert await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID)) is None
    await link.admin.purge_stream(subjects.JOBS_STREAM)
    ending = replace(cancelled(1.0), job_id=OTHER)
    await link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    assert await reconcile(JobLog(link, "state"), records) == {ID}
    assert await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID)) is not None


@pytest.mark.parametrize("ending", [succeeded(1, 2.0), failed(1, 2.0), cancelled(2.0)])
async def test_a_job_whose_ending_the_log_has_lost_does_not_run_again(
    link: Bus, records: Records, tmp_path: Path, ending: Ending
) -> None:
    await enqueue(link, ID)
    await lose_from_the_queue(link, ID)
    videos = Folder(tmp_path / "videos")
    await videos.write(record_name(ending), wire.encode_record(Record(submitted=submitted(), ending=ending)))
    for _ in range(2):
        await reconcile(JobLog(link, "state"), records)
    assert await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID)) is None
    endings = await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))
    assert [wire.decode_event(each.data) for each in endings] == [ending]


async def test_a_lost_job_runs_again_where_the_record_is_of_the_one_that_had_its_key_before(
    link: Bus, records: Records, tmp_path: Path
) -> None:
    await enqueue(link, ID)
    await lose_from_the_queue(link, ID)
    before = replace(submitted(), created_at=submitted().created_at - 1)
    record = Record(submitted=before, ending=failed(1, 2.0))
    await Folder(tmp_path / "videos").write(record_name(record.ending), wire.encode_record(record))
    await reconcile(JobLog(link, "state"), records)
    assert await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID)) is not None
    assert await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID)) == []
