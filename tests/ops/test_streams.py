"""What provisioning says on the broker of each stream, bucket and durable."""

import pytest
from nats.js.api import ConsumerInfo, StreamInfo

from contracts import inventory, subjects
from contracts.broker import Bus
from ops import streams
from ops.provision import provision
from tests.kit.broker import Broker, provision_settings

ENTRIES = [*inventory.STREAMS.values(), *inventory.DURABLES.values()]


def test_everything_on_the_broker_is_in_the_inventory_and_nothing_else() -> None:
    settings = streams.Settings()
    assert {config.name for config in streams.streams(settings)} == set(inventory.STREAMS)
    assert {config.durable_name for _, config in streams.consumers(settings)} == set(inventory.DURABLES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.holds[:20])
def test_an_entry_is_a_line_and_says_all(entry: inventory.Entry) -> None:
    assert entry.description.startswith("WanJet: ")
    assert len(entry.description.splitlines()) == 1
    assert all(entry.metadata.values())
    assert entry.metadata[inventory.VERSION] == inventory.SCHEMA


async def test_a_new_broker_says_what_each_of_them_holds(link: Bus) -> None:
    for name, entry in inventory.STREAMS.items():
        config = (await link.stream(name)).config
        assert config.description == entry.description
        assert entry.metadata.items() <= (config.metadata or {}).items()
    for stream, wanted in streams.consumers(streams.Settings()):
        config = (await link.consumer(stream, wanted.durable_name or "")).config
        entry = inventory.DURABLES[wanted.durable_name or ""]
        assert config.description == entry.description
        assert entry.metadata.items() <= (config.metadata or {}).items()


async def test_the_queue_still_says_whether_durability_is_checked(link: Bus) -> None:
    metadata = (await link.stream(subjects.JOBS_STREAM)).config.metadata or {}
    assert metadata["wanjet.durability"] == "checked"


async def test_a_broker_of_an_older_version_gets_them_and_keeps_what_it_holds(broker: Broker, link: Bus) -> None:
    event = subjects.submission_of("0" * 32)
    for name in inventory.STREAMS:
        await link.admin.update_stream((await link.stream(name)).config.evolve(description="", metadata={}))
    for stream, config in streams.consumers(provision_settings(broker)):
        await link.admin.add_consumer(stream, config.evolve(description="", metadata={}))
    await link.publish(event, b"kept", within_s=2)
    before, durable = await about(link)
    assert not before.config.description
    assert inventory.KEPT not in (before.config.metadata or {})

    await provision(link, provision_settings(broker))

    after, durable_after = await about(link)
    assert after.config.description == inventory.STREAMS[subjects.EVENTS_STREAM].description
    assert durable_after.config.description == inventory.DURABLES[subjects.STATE_DURABLE].description
    assert after.created == before.created
    assert durable_after.created == durable.created
    kept = await link.last(subjects.EVENTS_STREAM, event)
    assert kept is not None
    assert kept.data == b"kept"


async def about(link: Bus) -> tuple[StreamInfo, ConsumerInfo]:
    return (
        await link.stream(subjects.EVENTS_STREAM),
        await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE),
    )
