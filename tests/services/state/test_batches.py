"""Batches: many events at once give what one after the other gives, whoever folds them, whatever happens halfway."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Delivery, Unavailable, ack_waits
from contracts.events import Ending, Event, JobFailed
from contracts.fold import fold_all
from contracts.job_log import JobLog
from contracts.record import record_name
from ops.provision import consumers, provision
from ops.streams import STATE_ACK_PENDING_MAX, STATE_ACK_WAIT_S
from services.state import materialise
from services.state.statuses import StatusWriter
from tests.contracts.test_fold import logs
from tests.kit.broker import Broker, all_folded, provision_settings
from tests.kit.builders import ID, cancelled, failed, started, step, submitted, succeeded
from tests.kit.process import Process
from tests.kit.waiting import eventually
from tests.services.state.test_materialise import NOW, caught_up, publish, state

RETENTION_S = 1e9
JOBS = 20
KILLED_AT_WRITE = 7

# `python -m services.state` that is killed in the middle of a batch: some statuses written, no event acknowledged.
DYING = f"""
import os, signal, sys, uvloop
from contracts.broker import Bus
from contracts.process import env, start
from services.state import __main__ as state
put, writes = Bus.put, 0
async def put_and_die(self, *arguments, **named):
    global writes
    revision = await put(self, *arguments, **named)
    writes += 1
    if writes == {KILLED_AT_WRITE}: os.kill(os.getpid(), signal.SIGKILL)
    return revision
Bus.put = put_and_die
start.configure("state")
sys.exit(0 if uvloop.run(state.serve(env.read(state.Settings))) else 1)
"""


def lives(jobs: int = JOBS) -> list[Event]:
    """The events of so many jobs, which come in turns."""
    steps = [step(1, NOW + n, n, n / 25) for n in range(1, 11)]
    endings: list[Event] = [
        succeeded(1, NOW + 30),
        failed(1, NOW + 30),
        cancelled(NOW + 30),
        step(1, NOW + 30, 11, 0.5),
    ]
    by_job = [
        [replace(event, job_id=f"{n:032x}") for event in (submitted(NOW), started(1, NOW), *steps, endings[n % 4])]
        for n in range(jobs)
    ]
    return [event for turn in zip(*by_job, strict=True) for event in turn]


async def publish_all(link: Bus, events: Sequence[Event]) -> None:
    await asyncio.gather(*(link.publish(subjects.event(event), wire.encode(event), within_s=10) for event in events))


async def written(link: Bus) -> dict[str, bytes]:
    """The bytes of every status, by key."""
    found = await link.read(subjects.bucket_stream(subjects.STATUS_BUCKET), ">")
    return {message.subject.rpartition(".")[2]: message.data for message in found}


def folded_alone(events: Sequence[Event]) -> dict[str, bytes]:
    """The bytes of every status, as one event after the other makes them."""
    by_job: dict[str, list[Event]] = {}
    for event in events:
        by_job.setdefault(event.job_id, []).append(event)
    return {job_id: wire.encode(status) for job_id, of in by_job.items() if (status := fold_all(of)) is not None}


async def set_ack_wait(link: Bus, ack_wait_s: float) -> None:
    config = (await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)).config
    await link.admin.add_consumer(subjects.EVENTS_STREAM, config.evolve(ack_wait=ack_wait_s))


async def test_what_waits_for_a_job_is_written_once_a_batch(link: Bus) -> None:
    await publish_all(link, lives(1))
    async with state(link):
        await caught_up(link)
    bucket = await link.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    assert await written(link) == folded_alone(lives(1))
    assert bucket.state.last_seq <= len(lives(1)) / 3


@pytest.mark.parametrize("instances", [1, 2, 3])
async def test_many_jobs_of_a_long_log_are_as_one_event_after_the_other_makes_them(link: Bus, instances: int) -> None:
    events = lives(60)
    await publish_all(link, events)
    async with state(link, instances=instances, retention_s=RETENTION_S):
        await caught_up(link)
    assert await written(link) == folded_alone(events)


@pytest.mark.timeout(120)
@given(logs(), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_batches_repetitions_and_races_give_the_bytes_of_one_event_after_the_other(
    link: Bus, log: tuple[list[Event], list[Event]], data: st.DataObject
) -> None:
    """Each of two states folds batches of what came, which overlap, while the other one does; before, one by one."""
    in_order, as_it_came = log
    await link.admin.purge_stream(subjects.EVENTS_STREAM)
    await publish(link, *in_order)
    bytes_of: list[bytes] = []
    for batches in ([[[event] for event in in_order]], [_batches(data, as_it_came), _batches(data, as_it_came)]):
        await link.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
        async with asyncio.TaskGroup() as states:
            for of_one in batches:
                states.create_task(_fold(link, of_one))
        bytes_of.append((await written(link))[ID])
    assert bytes_of[0] == bytes_of[1]


def _batches(data: st.DataObject, events: list[Event]) -> list[list[Event]]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    parts = [events[start:end] for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    return [part for part in parts if part]


async def _fold(link: Bus, batches: list[list[Event]]) -> None:
    statuses = StatusWriter(link, JobLog(link, "state"), RETENTION_S)
    for batch in batches:
        await statuses.fold_in(batch)


async def test_a_lone_event_does_not_wait_for_others(link: Bus) -> None:
    async with state(link):
        for n in range(3):
            await publish(link, submitted(NOW) if n == 0 else step(1, NOW + n, n, n / 25))
            await eventually(lambda: all_folded(link), within_s=2)


@pytest.mark.parametrize("event", [started(1, NOW), step(1, NOW, 1, 0.1), cancelled(NOW)])
async def test_a_status_that_is_remembered_is_made_anew_if_the_bucket_lost_it_meanwhile(
    link: Bus, event: Event
) -> None:
    """The second event changes what is remembered; or not, since it came before; or ends the job."""
    statuses = StatusWriter(link, JobLog(link, "state"), RETENTION_S)
    log = [submitted(NOW), started(1, NOW)]
    await publish(link, *log, event)
    await statuses.fold_in(log)
    await link.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    await statuses.fold_in([event])
    await statuses.fold_in(log)
    assert await written(link) == folded_alone([*log, event])


async def test_a_status_that_another_state_wrote_meanwhile_is_folded_over(link: Bus) -> None:
    one, other = (StatusWriter(link, JobLog(link, "state"), RETENTION_S) for _ in range(2))
    log = [submitted(NOW), started(1, NOW), step(1, NOW + 1, 1, 0.1), step(1, NOW + 2, 2, 0.2), cancelled(NOW + 3)]
    await publish(link, *log)
    await one.fold_in(log[:2])
    await other.fold_in(log[3:])
    await one.fold_in(log[2:3])
    assert await written(link) == folded_alone(log)


async def test_the_poison_messages_of_a_batch_are_set_aside_and_no_others(link: Bus) -> None:
    events = lives(4)
    async with state(link):
        await publish_all(link, events[:4])
        await caught_up(link)
    bucket = (await link.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))).config
    bucket.max_msg_size = 1000
    await link.admin.update_stream(bucket)
    await link.publish(f"video.events.{ID}.step", b"not json", within_s=2)
    await publish_all(link, [_too_large(event) for event in events[4:]])
    async with state(link):
        await caught_up(link)
    found = {job_id: wire.decode_status(data) for job_id, data in (await written(link)).items()}
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 2
    assert [found[f"{n:032x}"].status for n in range(4)] == ["Succeed", "InProgress", "Cancelled", "InProgress"]
    assert found[f"{1:032x}"].step == 10


def _too_large(event: Event) -> Event:
    return replace(event, reason="x" * 2000) if isinstance(event, JobFailed) else event


async def test_each_ending_of_a_batch_has_its_record_before_it_is_acknowledged(link: Bus, tmp_path: Path) -> None:
    events = lives()
    await publish_all(link, events)
    async with state(link, videos=tmp_path):
        await caught_up(link)
        endings = [event for event in events if isinstance(event, Ending)]
        missing = [each for each in endings if not (tmp_path / record_name(each)).exists()]
    assert {type(each).__name__ for each in missing} == {"JobSucceeded"}  # whose record rank 0 writes


@pytest.mark.timeout(60)
async def test_a_state_that_is_killed_in_the_middle_of_a_batch_leaves_all_to_the_next(
    link: Bus, broker: Broker, tmp_path: Path
) -> None:
    await set_ack_wait(link, 1)
    events = lives()
    await publish_all(link, events)
    stores = {"VIDEO_STORE_URL": str(tmp_path / "videos"), "SCRATCH_STORE_URL": str(tmp_path / "scratch")}
    dying = Process(["-c", DYING], tmp_path / "log", **broker.environment, **stores).start()
    assert await asyncio.to_thread(dying.wait, 30) == -signal.SIGKILL
    assert len(await written(link)) >= KILLED_AT_WRITE
    assert not await all_folded(link)
    async with state(link, retention_s=RETENTION_S):
        await caught_up(link)
    assert await written(link) == folded_alone(events)


async def test_a_batch_over_which_a_slow_bucket_takes_longer_than_ack_wait_stays_whose_it_is(
    link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ack_waits, "EXTEND_EVERY_S", 0.2)
    await set_ack_wait(link, 1)
    enough, extended = asyncio.Event(), 0
    put, extend = Bus.put, Delivery.extend_ack_wait

    async def slow_put(self: Bus, *arguments: Any, **named: Any) -> int:
        await enough.wait()
        return await put(self, *arguments, **named)

    async def counted(self: Delivery) -> None:
        nonlocal extended
        extended += 1
        await extend(self)
        if extended > 10 * 12:  # each event for more than 2 s
            enough.set()

    monkeypatch.setattr(Bus, "put", slow_put)
    monkeypatch.setattr(Delivery, "extend_ack_wait", counted)
    await publish_all(link, lives(1))
    async with state(link):
        await caught_up(link)
    consumer = await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    assert consumer.delivered is not None
    assert consumer.delivered.consumer_seq == len(lives(1)), "an event was delivered twice"


async def test_a_status_that_cannot_be_written_now_holds_up_no_other_job_and_comes_later(
    link: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_ack_wait(link, 1)
    put, fails = Bus.put, True

    async def put_or_fail(self: Bus, bucket: str, key: str, *arguments: Any, **named: Any) -> int:
        if fails and key == f"{1:032x}":
            raise Unavailable("it does not answer")
        return await put(self, bucket, key, *arguments, **named)

    monkeypatch.setattr(Bus, "put", put_or_fail)
    events = lives(3)
    await publish_all(link, events)

    async def others_are_folded() -> bool:
        wanted = {job_id: data for job_id, data in folded_alone(events).items() if job_id != f"{1:032x}"}
        return await written(link) == wanted

    async with state(link, retention_s=RETENTION_S):
        await eventually(others_are_folded)
        assert not await all_folded(link)
        fails = False
        await caught_up(link)
    assert await written(link) == folded_alone(events)
    assert capsys.readouterr().out.count("event_not_applied") >= 1


async def test_an_older_state_beside_a_newer_one_loses_and_doubles_nothing(link: Bus) -> None:
    """The older one pulls one event, folds it alone and acknowledges it before it pulls the next."""
    stop = asyncio.Event()

    async def older() -> int:
        statuses, folded = StatusWriter(link, JobLog(link, "state"), RETENTION_S), 0
        while not stop.is_set():
            delivery = await link.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=stop)
            if delivery is not None:
                await statuses.fold_in([wire.event_in(delivery)])
                await delivery.acknowledge()
                folded += 1
        return folded

    events = lives()
    async with asyncio.TaskGroup() as states:
        old = states.create_task(older())
        async with state(link, retention_s=RETENTION_S):
            await publish_all(link, events)
            await caught_up(link)
        stop.set()
    assert old.result() > 0
    assert await written(link) == folded_alone(events)
    consumer = await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    assert consumer.delivered is not None
    assert consumer.delivered.consumer_seq == len(events)


async def test_a_broker_from_before_batches_gets_their_limits_from_provisioning(broker: Broker, link: Bus) -> None:
    config = dict(consumers(provision_settings(broker)))[subjects.EVENTS_STREAM]
    await link.admin.add_consumer(subjects.EVENTS_STREAM, config.evolve(max_ack_pending=1, ack_wait=5))
    events = lives(3)
    await publish_all(link, events)
    async with state(link, retention_s=RETENTION_S):  # with the limits of before, too
        await caught_up(link)
    await provision(link, provision_settings(broker))
    found = (await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)).config
    assert (found.max_ack_pending, found.ack_wait) == (STATE_ACK_PENDING_MAX, STATE_ACK_WAIT_S)
    assert await written(link) == folded_alone(events)


def test_the_limits_go_together() -> None:
    assert 2 * ack_waits.EXTEND_EVERY_S < STATE_ACK_WAIT_S
    assert STATE_ACK_PENDING_MAX >= 4 * materialise.EVENTS_HELD_MAX
