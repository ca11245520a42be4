"""Three brokers with three replicas of everything: what one promises they promise together, with one of them dead."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Expect, WrongSequence, bus
from contracts.events import Ending
from ops import provision
from ops.durability import undurable
from ops.provision import Settings
from tests.chaos.soak.brokers import NODES, Brokers, three_brokers
from tests.kit.builders import cancelled, failed, submitted, succeeded

RACES = 100


async def provisioned(brokers: Brokers, link: Bus) -> None:
    settings = Settings(nats_url=brokers.url, nats_monitor_urls=brokers.monitor_urls, nats_replicas=NODES)
    assert undurable(settings.nats_monitor_urls) == []
    await provision.provision(link, settings)


async def won(link: Bus, ending: Ending) -> bool:
    try:
        await link.publish(
            subjects.event(ending),
            wire.encode(ending),
            message_id=f"{ending.job_id}.{type(ending).__name__}",
            expect=Expect(0, subjects.endings_of(ending.job_id)),
            within_s=30,
        )
    except WrongSequence:
        return False
    return True


@pytest.mark.timeout(180)
async def test_of_endings_that_race_on_three_replicas_one_is_taken_also_with_a_broker_dead(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers, bus.connect(brokers.url, name="race") as link:
        await provisioned(brokers, link)
        for number in range(RACES):
            if number == RACES // 2:
                brokers.nodes[0].kill()
            job_id = f"{number:032x}"
            racing = [replace(each, job_id=job_id) for each in (succeeded(1, 10), failed(1, 10), cancelled(10))]
            assert sum(await asyncio.gather(*(won(link, ending) for ending in racing))) == 1
        brokers.nodes[0].start()
        await brokers.together()
        endings = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
        assert len({subjects.job_id_of(ending.subject) for ending in endings}) == len(endings) == RACES
        await link.publish(subjects.job("f" * 32), wire.encode(replace(submitted(), job_id="f" * 32)), within_s=10)
        assert (await link.stream(subjects.JOBS_STREAM)).config.num_replicas == NODES
