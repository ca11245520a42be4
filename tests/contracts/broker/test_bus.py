import asyncio
import itertools

import pytest

from contracts import subjects
from contracts.broker import Bus, Expect, Published, StreamFull, SubjectFull, Unavailable, WrongSequence
from contracts.broker.streams import READ_BATCH
from ops import durability, provision
from tests.kit.broker import Broker, provision_settings
from tests.kit.machine import cpu_ns
from tests.kit.waiting import eventually

NEVER = asyncio.Event
COUNTS = 100
_ids = (f"{n:032x}" for n in itertools.count(1))


async def submit(link: Bus, job_id: str | None = None) -> Published:
    job_id = job_id or next(_ids)
    return await link.publish(subjects.job(job_id), b"{}", message_id=job_id, within_s=2)


async def test_a_full_queue_refuses_and_stores_nothing(link: Bus) -> None:
    for _ in range(5):
        await submit(link)
    with pytest.raises(StreamFull):
        await submit(link)
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 5


async def test_a_second_unfinished_job_of_one_id_is_told_from_a_full_queue(link: Bus) -> None:
    job_id = next(_ids)
    await submit(link, job_id)
    with pytest.raises(SubjectFull):
        await link.publish(subjects.job(job_id), b"other", within_s=2)


async def test_every_accepted_job_is_copied_into_the_log_byte_for_byte(link: Bus) -> None:
    job_id = next(_ids)
    await link.publish(subjects.job(job_id), b'{"a": 1}', message_id=job_id, within_s=2)
    log = await eventually(lambda: link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id)))
    assert [(copy.subject, copy.data) for copy in log] == [(f"video.events.{job_id}.submitted", b'{"a": 1}')]


async def test_only_the_first_ending_is_stored(link: Bus) -> None:
    job_id = next(_ids)
    expect = Expect(0, subjects.endings_of(job_id))
    await link.publish(f"video.events.{job_id}.finished.failed", b"1", expect=expect, within_s=2)
    with pytest.raises(WrongSequence):
        await link.publish(f"video.events.{job_id}.finished.succeeded", b"2", expect=expect, within_s=2)
    ending = await link.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
    assert ending is not None and ending.data == b"1"


async def test_reading_pages_through_more_messages_than_a_batch(link: Bus) -> None:
    count = 2 * READ_BATCH + 7
    for n in range(count):
        await link.publish(f"video.events.{'a' * 32}.step", str(n).encode(), within_s=2)
    await link.publish(f"video.events.{'b' * 32}.step", b"x", within_s=2)
    found = await link.read(subjects.EVENTS_STREAM, subjects.events_of("a" * 32))
    assert [int(message.data) for message in found] == list(range(count))
    assert await link.read(subjects.EVENTS_STREAM, subjects.events_of("c" * 32)) == []


async def test_messages_after_one_are_counted_until_it_is_gone(link: Bus) -> None:
    ids = [next(_ids) for _ in range(4)]
    sequences = [(await submit(link, job_id)).sequence for job_id in ids]
    await link.delete(subjects.JOBS_STREAM, sequences[2])
    await link.delete(subjects.JOBS_STREAM, sequences[2])  # gone already: no error
    counts = [
        await link.count_after(subjects.JOBS_STREAM, subjects.job(job_id), sequence)
        for job_id, sequence in zip(ids, sequences, strict=True)
    ]
    assert counts == [2, 1, None, 0]
    assert await link.count_after(subjects.JOBS_STREAM, subjects.job(ids[0]), sequences[1]) is None
    assert await link.count_after(subjects.JOBS_STREAM, subjects.job(ids[3]), sequences[3] + 1) is None


async def test_messages_are_counted_whatever_headers_their_publisher_has_given_them(link: Bus) -> None:
    for status in ("503", "404", "204"):
        job_id = next(_ids)
        headers = {"Status": status, "Nats-Num-Pending": "77", "Nats-Sequence": "77"}
        stored = await link.admin.publish(subjects.job(job_id), b"", headers=headers)
        assert await link.count_after(subjects.JOBS_STREAM, subjects.job(job_id), stored.seq) == 0


async def test_a_count_costs_the_broker_no_more_in_a_long_queue_than_in_a_short_one(broker: Broker, link: Bus) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=100_000))
    first = next(_ids)
    sequence = (await submit(link, first)).sequence

    async def cost() -> int:
        before = cpu_ns(broker.pid)
        for _ in range(COUNTS):
            await link.count_after(subjects.JOBS_STREAM, subjects.job(first), sequence)
        return cpu_ns(broker.pid) - before

    await asyncio.gather(*(submit(link) for _ in range(99)))
    short = await cost()
    for _ in range(50):
        await asyncio.gather(*(submit(link) for _ in range(198)))
    assert await cost() < 4 * short  # a scan costs 20 times as much


async def test_a_bucket_writes_only_over_the_revision_that_was_read(link: Bus) -> None:
    await link.put(subjects.STATUS_BUCKET, "k", b"1", revision=0)
    found = await link.get(subjects.STATUS_BUCKET, "k")
    assert found is not None and found.data == b"1"
    await link.put(subjects.STATUS_BUCKET, "k", b"2", revision=found.sequence)
    with pytest.raises(WrongSequence):
        await link.put(subjects.STATUS_BUCKET, "k", b"3", revision=found.sequence)


async def test_a_key_with_a_time_to_live_goes_away(link: Bus) -> None:
    await link.put(subjects.STATUS_BUCKET, "k", b"1", revision=0, ttl_s=1)

    async def gone() -> bool:
        return await link.get(subjects.STATUS_BUCKET, "k") is None

    assert not await gone()
    await eventually(gone, within_s=4)
    await link.put(subjects.STATUS_BUCKET, "k", b"2", revision=0)


async def test_a_key_that_somebody_deleted_counts_as_none(link: Bus) -> None:
    await link.put(subjects.STATUS_BUCKET, "k", b"1", revision=0)
    await link.put_last(subjects.STATUS_BUCKET, "k", b"")
    await link.put(subjects.STATUS_BUCKET, "k", b"2", revision=0)
    with pytest.raises(WrongSequence):
        await link.put(subjects.STATUS_BUCKET, "k", b"3", revision=0)
    found = await link.get(subjects.STATUS_BUCKET, "k")
    assert found is not None and found.data == b"2"


async def test_values_of_a_bucket_leave_out_removed_keys(link: Bus) -> None:
    assert await link.values(subjects.CLUSTERS_BUCKET) == []
    for key, value in (("a", b"1"), ("b", b"2"), ("a", b"")):
        await link.put_last(subjects.CLUSTERS_BUCKET, key, value)
    assert await link.values(subjects.CLUSTERS_BUCKET) == [b"2"]


async def test_a_pull_survives_a_killed_broker(broker: Broker, link: Bus) -> None:
    async def next_job() -> bytes:
        while True:
            message = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=NEVER())
            if message is not None:
                return message.data

    waiting = asyncio.create_task(next_job())
    broker.kill()
    broker.start()
    job_id = next(_ids)
    await link.publish(subjects.job(job_id), b"after", message_id=job_id, within_s=10)
    assert await asyncio.wait_for(waiting, 5) == b"after"


async def test_a_pull_ends_at_once_when_told_to_stop(link: Bus) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop))
    asyncio.get_running_loop().call_soon(stop.set)
    assert await asyncio.wait_for(waiting, 1) is None


async def test_a_publish_is_stored_once_over_a_restart_of_the_broker(broker: Broker, link: Bus) -> None:
    job_id = next(_ids)
    broker.kill()
    publishing = asyncio.create_task(submit_for_long(link, job_id))
    await eventually(lambda: not link.connected)
    broker.start()
    await publishing
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 1


async def submit_for_long(link: Bus, job_id: str) -> Published:
    return await link.publish(subjects.job(job_id), b"{}", message_id=job_id, within_s=10)


async def test_a_publish_without_a_broker_says_that_the_outcome_is_unknown(broker: Broker, link: Bus) -> None:
    broker.kill()
    with pytest.raises(Unavailable):
        await link.publish(subjects.job(next(_ids)), b"{}", within_s=0.3)
    with pytest.raises(Unavailable):
        await link.stream(subjects.JOBS_STREAM, within_s=0.3)
    with pytest.raises(Unavailable):
        await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS, within_s=0.3)


async def test_a_changed_limit_is_applied_live_and_loses_no_job(broker: Broker, link: Bus) -> None:
    for _ in range(5):
        await submit(link)
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=2))
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 5
    with pytest.raises(StreamFull):
        await submit(link)
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=6))
    await submit(link)


async def test_provisioning_twice_changes_nothing(broker: Broker, link: Bus) -> None:
    names = [config.name or "" for config in provision.streams(provision_settings(broker))]
    before = [(await link.stream(name)).config for name in names]
    await provision.provision(link, provision_settings(broker))
    assert [(await link.stream(name)).config for name in names] == before


async def test_a_broker_that_does_not_sync_is_found_out(broker: Broker, link: Bus) -> None:
    nobody = "http://127.0.0.1:1"
    assert durability.undurable((broker.monitor_url, nobody)) == [nobody]
