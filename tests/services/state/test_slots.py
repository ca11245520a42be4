"""Slots that nobody freed: of jobs that have ended, and of jobs that were never published."""

import asyncio
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Published
from contracts.events import Event, JobSubmitted
from contracts.job_log import JobLog
from services.state import slots as keeping
from services.state.own_numbers import StateNumbers
from services.state.slots import YOUNG_S, SlotKeeper
from tests.kit.broker import Broker
from tests.kit.builders import ID, cancelled, deleted, failed, submitted, succeeded
from tests.kit.process import Process
from tests.kit.waiting import eventually

OTHER = "f" * 32
TENANT = "one"


@pytest.fixture
def job_log(link: Bus) -> JobLog:
    return JobLog(link, "state")


@pytest.fixture
def keeper(link: Bus, job_log: JobLog) -> SlotKeeper:
    return SlotKeeper(link, job_log, StateNumbers())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots are old as soon as they are stored."""
    monkeypatch.setattr(keeping, "YOUNG_S", -1.0)


async def taken(job_log: JobLog, job_id: str = ID) -> None:
    await job_log.slots.take(TENANT, job_id, 3)


async def queued(job_log: JobLog, job_id: str = ID) -> None:
    job = JobSubmitted(job_id=job_id, created_at=1.0, job=submitted().job, tenant=TENANT, has_slot=True)
    await job_log.queue.add(job, within_s=5)


async def held(job_log: JobLog) -> set[str]:
    return {slot.job_id for slot in await job_log.slots.all()}


async def publish(link: Bus, event: Event) -> Published:
    return await link.publish(subjects.event(event), wire.encode(event), within_s=5)


@pytest.mark.parametrize(
    "ending", [succeeded(1, 9), failed(1, 9), cancelled(9), deleted(9)], ids=lambda e: type(e).__name__
)
async def test_the_slot_of_a_job_that_has_ended_goes_at_once_also_while_its_message_is_still_in_the_queue(
    link: Bus, job_log: JobLog, keeper: SlotKeeper, ending: Event
) -> None:
    for job_id in (ID, OTHER):
        await taken(job_log, job_id)
        await queued(job_log, job_id)
    await publish(link, ending)
    await keeper.free_left_over()
    assert await held(job_log) == {OTHER}


async def test_an_ending_that_nobody_can_read_frees_the_slot_too(
    link: Bus, job_log: JobLog, keeper: SlotKeeper
) -> None:
    await taken(job_log)
    await link.publish(f"video.events.{ID}.finished.transcended", b"{", within_s=5)
    await keeper.free_left_over()
    assert await held(job_log) == set()


async def test_every_message_of_an_ended_jobs_slot_goes(link: Bus, job_log: JobLog, keeper: SlotKeeper) -> None:
    for _ in range(3):
        await taken(job_log)
    await publish(link, cancelled(9))
    await keeper.free_left_over()
    assert await held(job_log) == set()


async def test_a_slot_without_a_job_stays_while_it_is_young(job_log: JobLog, keeper: SlotKeeper) -> None:
    await taken(job_log)
    for _ in range(3):
        await keeper.free_left_over()
    assert await held(job_log) == {ID}


@pytest.mark.usefixtures("at_once")
async def test_an_old_slot_without_a_job_goes_once_two_looks_have_found_it_so(
    job_log: JobLog, keeper: SlotKeeper
) -> None:
    await taken(job_log)
    await keeper.free_left_over()
    assert await held(job_log) == {ID}
    await taken(job_log, OTHER)
    await keeper.free_left_over()
    assert await held(job_log) == {OTHER}


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_is_published_late_keeps_its_slot(job_log: JobLog, keeper: SlotKeeper) -> None:
    await taken(job_log)
    await keeper.free_left_over()
    await queued(job_log)
    for _ in range(3):
        await keeper.free_left_over()
    assert await held(job_log) == {ID}


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_the_queue_has_lost_keeps_its_slot(link: Bus, job_log: JobLog, keeper: SlotKeeper) -> None:
    await taken(job_log)
    await queued(job_log)
    await eventually(lambda: job_log.stored_submission(ID))
    await link.purge(subjects.JOBS_STREAM, subjects.ALL_JOBS)
    for _ in range(3):
        await keeper.free_left_over()
    assert await held(job_log) == {ID}


@pytest.mark.usefixtures("at_once")
async def test_a_slot_of_what_is_no_job_goes(link: Bus, job_log: JobLog, keeper: SlotKeeper) -> None:
    await link.publish("video.slots.one.nonsense", b"", within_s=5)
    await queued(job_log)
    for _ in range(2):
        await keeper.free_left_over()
    assert await held(job_log) == set()


@pytest.mark.usefixtures("at_once")
async def test_a_job_without_a_slot_is_given_none(job_log: JobLog, keeper: SlotKeeper) -> None:
    await queued(job_log)
    for _ in range(2):
        await keeper.free_left_over()
    assert await held(job_log) == set()


async def test_two_states_may_free_the_same_slots_at_once(link: Bus, job_log: JobLog) -> None:
    ids = [f"{number:032x}" for number in range(40)]
    for job_id in ids:
        await job_log.slots.take(TENANT, job_id, 100)
        await publish(link, replace(cancelled(9), job_id=job_id))
    keepers = [SlotKeeper(link, job_log, StateNumbers()) for _ in range(2)]
    await asyncio.gather(*(each.free_left_over() for each in keepers))
    assert await held(job_log) == set()


@pytest.mark.timeout(180)
async def test_a_state_process_frees_what_is_left_over_also_after_a_kill_of_itself_and_of_the_broker(
    broker: Broker, link: Bus, job_log: JobLog, tmp_path: Path
) -> None:
    """One job ended whose slot nobody freed, one was never published, and one waits."""
    stores = {"VIDEO_STORE_URL": str(tmp_path / "videos"), "SCRATCH_STORE_URL": str(tmp_path / "scratch")}
    waiting = "e" * 32
    for job_id in (ID, OTHER, waiting):
        await taken(job_log, job_id)
    await queued(job_log, waiting)
    await publish(link, succeeded(1, 9))
    state = Process(["-m", "services.state"], tmp_path / "state.log", **broker.environment, **stores).start()
    try:
        await eventually(lambda: freed(state) >= {(ID, "ended")}, within_s=60)
        state.send(signal.SIGKILL)
        state.wait(10)
        broker.kill()
        broker.start()
        state.start()

        async def only_the_waiting_job() -> bool:
            return await held(job_log) == {waiting}

        await eventually(only_the_waiting_job, within_s=60 + YOUNG_S)
        assert (OTHER, "no_job") in freed(state)
    finally:
        assert state.stop() == 0


def freed(state: Process) -> set[tuple[str, str]]:
    return {(line["job_id"], line["why"]) for line in state.lines if line["event"] == "slot_freed"}
