"""Slots of tenants on one broker, as one process takes and frees them. Races of many are in `tests/chaos/soak`."""

import asyncio
import signal

import pytest
from msgspec.structs import replace

from contracts import subjects
from contracts.broker import Bus, Expect, WrongSequence, bus
from contracts.events import JobSubmitted
from contracts.slots import FREE_WITHIN_S, Slots, SlotsFull, SlotsUnsettled
from tests.kit.broker import Broker
from tests.kit.builders import submitted
from tests.kit.waiting import eventually

TENANT, OTHER_TENANT = "one", "other"
IDS = [f"{number:032x}" for number in range(5)]


@pytest.fixture
def slots(link: Bus) -> Slots:
    return Slots(link)


def of_a_slot(job_id: str, tenant: str = TENANT) -> JobSubmitted:
    return replace(submitted(), job_id=job_id, tenant=tenant, has_slot=True)


async def held(slots: Slots, tenant: str = TENANT) -> set[str]:
    return {slot.job_id for slot in await slots.all() if slot.tenant == tenant}


async def test_a_tenant_gets_as_many_slots_as_it_may_and_another_tenant_its_own(slots: Slots) -> None:
    for job_id in IDS[:3]:
        await slots.take(TENANT, job_id, 3)
    with pytest.raises(SlotsFull) as full:
        await slots.take(TENANT, IDS[3], 3)
    assert full.value.job_ids == set(IDS[:3])
    await slots.take(OTHER_TENANT, IDS[4], 1)
    assert (await held(slots), await held(slots, OTHER_TENANT)) == (set(IDS[:3]), {IDS[4]})


async def test_a_look_for_room_says_what_taking_would_say_and_takes_nothing(slots: Slots) -> None:
    await slots.check_for_room(TENANT, IDS[0], 1)
    await slots.take(TENANT, IDS[0], 1)
    with pytest.raises(SlotsFull):
        await slots.check_for_room(TENANT, IDS[1], 1)
    await slots.check_for_room(TENANT, IDS[0], 1)  # its own slot is no other's
    assert await held(slots) == {IDS[0]}


async def test_a_freed_slot_can_be_taken_and_freeing_twice_is_no_error(slots: Slots) -> None:
    await slots.take(TENANT, IDS[0], 1)
    for _ in range(2):
        await slots.free(of_a_slot(IDS[0]))
    await slots.take(TENANT, IDS[1], 1)
    assert await held(slots) == {IDS[1]}


async def test_a_lowered_limit_is_kept_as_jobs_end(slots: Slots) -> None:
    for job_id in IDS[:3]:
        await slots.take(TENANT, job_id, 3)
    for ending in IDS[:2]:
        with pytest.raises(SlotsFull):
            await slots.take(TENANT, IDS[4], 1)
        await slots.free(of_a_slot(ending))
    with pytest.raises(SlotsFull):
        await slots.take(TENANT, IDS[4], 1)


async def test_submissions_of_one_job_have_one_slot_and_each_gives_back_its_own(slots: Slots) -> None:
    """The same idempotency key twice at once: the one that is refused must not take the other's slot."""
    first, second = [await slots.take(TENANT, IDS[0], 2) for _ in range(2)]
    assert first != second
    await slots.take(TENANT, IDS[1], 2)
    with pytest.raises(SlotsFull):
        await slots.take(TENANT, IDS[2], 2)
    await slots.give_back(first)
    assert await held(slots) == {IDS[0], IDS[1]}
    await slots.take(TENANT, IDS[0], 2)
    await slots.free(of_a_slot(IDS[0]))
    assert await held(slots) == {IDS[1]}


async def test_a_freed_slot_stays_free_though_it_was_stored_twice_and_the_broker_is_killed(
    broker: Broker, slots: Slots
) -> None:
    """With `max_msgs_per_subject=1`, nats-server 2.15 brings such a message back."""
    for _ in range(2):
        await slots.take(TENANT, IDS[0], 2)
    kept = await slots.take(TENANT, IDS[1], 2)
    await slots.free(of_a_slot(IDS[0]))
    broker.kill()
    broker.start()
    assert [slot.sequence for slot in await slots.all()] == [kept]


async def test_a_slot_whose_stored_answer_was_lost_is_found_and_not_taken_twice(
    slots: Slots, link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, lost = link.publish, 0

    async def publish_and_lose_the_answer(subject: str, payload: bytes, *, expect: Expect, within_s: float) -> None:
        nonlocal lost
        await publish(subject, payload, expect=expect, within_s=within_s)
        lost += 1
        raise WrongSequence("as a repeat of the publish is answered")

    monkeypatch.setattr(link, "publish", publish_and_lose_the_answer)
    sequence = await slots.take(TENANT, IDS[0], 1)
    assert lost == 1
    assert [(slot.job_id, slot.sequence) for slot in await slots.all()] == [(IDS[0], sequence)]


async def test_a_broker_that_is_silent_leaves_it_unsettled_and_frees_nothing_in_bounded_time(
    broker: Broker, slots: Slots
) -> None:
    await slots.take(TENANT, IDS[0], 2)
    loop = asyncio.get_running_loop()
    broker.send(signal.SIGSTOP)
    try:
        began = loop.time()
        tries = (slots.take(TENANT, job_id, 2, within_s=2.0) for job_id in IDS[1:])
        assert {type(each) for each in await asyncio.gather(*tries, return_exceptions=True)} == {SlotsUnsettled}
        assert loop.time() - began < 6.0
        began = loop.time()
        await slots.free(of_a_slot(IDS[0]))
        assert loop.time() - began < 3 * FREE_WITHIN_S
    finally:
        broker.send(signal.SIGCONT)


async def test_nothing_is_asked_about_a_job_without_a_slot(broker: Broker) -> None:
    async with bus.connect(broker.url, name="test") as link:
        before = link._client.stats["out_msgs"]
        await Slots(link).free(replace(of_a_slot(IDS[0]), has_slot=False))
        await Slots(link).free(None)
        assert link._client.stats["out_msgs"] == before


async def test_tenants_whose_names_begin_alike_share_nothing(slots: Slots) -> None:
    await slots.take("acme", IDS[0], 1)
    await slots.take("acme-2", IDS[1], 1)
    await slots.free(of_a_slot(IDS[0], "acme"))
    assert await held(slots, "acme-2") == {IDS[1]}


async def test_a_tenant_with_more_slots_than_one_answer_has_is_counted_whole(slots: Slots, link: Bus) -> None:
    many = [f"{number:032x}" for number in range(300)]
    for job_id in many:
        await link.publish(subjects.slot(TENANT, job_id), b"", within_s=5)
    with pytest.raises(SlotsFull):
        await slots.take(TENANT, "f" * 32, len(many))
    await slots.take(TENANT, "f" * 32, len(many) + 1)
    await eventually(lambda: held(slots))
    assert await held(slots) == {*many, "f" * 32}
