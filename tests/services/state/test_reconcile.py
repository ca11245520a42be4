import asyncio

import pytest

from contracts import subjects, wire
from contracts.bus import Bus
from services.state.reconcile import reconcile
from tests.conftest import Broker
from tests.contracts.test_fold import ID, cancelled, submitted

OTHER = "f" * 32


async def enqueue(link: Bus, job_id: str) -> bytes:
    payload = wire.encode(submitted()).replace(ID.encode(), job_id.encode())
    await link.publish(subjects.job(job_id), payload, message_id=job_id, within_s=2)
    return payload


async def lose_the_copy(link: Bus, job_id: str) -> None:
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.submission_of(job_id))


async def test_a_job_whose_copy_is_missing_is_copied_into_the_log_once(broker: Broker, link: Bus) -> None:
    """As a broker leaves it that dies between storing a job and copying it."""
    payload = await enqueue(link, ID)
    await enqueue(link, OTHER)
    await lose_the_copy(link, ID)
    broker.kill()
    broker.start()
    await link.wait_for_streams(subjects.EVENTS_STREAM, stop=asyncio.Event())
    for _ in range(2):
        assert await reconcile(link) == {ID, OTHER}
    for job_id in (ID, OTHER):
        copies = await link.read(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        assert len(copies) == 1
    copy = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(ID))
    assert copy is not None and copy.data == payload


async def test_a_copy_that_is_only_late_does_not_come_twice(link: Bus) -> None:
    """The same message id: where the broker has the copy on its way, ours is the repeat."""
    await enqueue(link, ID)
    await lose_the_copy(link, ID)  # the broker still knows its message id
    await reconcile(link)
    assert await link.read(subjects.EVENTS_STREAM, subjects.submission_of(ID)) == []


@pytest.mark.parametrize("garbage", [False, True])
async def test_an_ended_job_is_taken_from_the_queue(link: Bus, garbage: bool) -> None:
    await enqueue(link, ID)
    await enqueue(link, OTHER)
    ending = cancelled(1.0)
    await link.publish(subjects.event(ending), b"{" if garbage else wire.encode(ending), within_s=2)
    assert await reconcile(link) == {OTHER}
    queued = await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)
    assert [subjects.job_id_of(job.subject) for job in queued] == [OTHER]
