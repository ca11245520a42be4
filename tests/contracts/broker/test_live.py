import asyncio

from contracts import subjects
from contracts.broker import Bus, Stored, bus
from contracts.broker.direct_get import republished
from contracts.job_log import JobLog
from tests.kit import builders
from tests.kit.broker import Broker
from tests.kit.waiting import eventually

SPOOFED = b"NATS/1.0\r\nNats-Sequence: 7\r\nNats-Subject: forged\r\n\r\n"


async def test_live_messages_are_those_of_the_log_and_come_in_order(broker: Broker, link: Bus) -> None:
    heard: list[Stored] = []
    async with bus.connect(broker.url, name="edge") as listening:
        await listening.hear(subjects.ALL_LIVE, heard.append, stop=asyncio.Event())
        job_log = JobLog(link, publisher="test")
        for number in range(1, 20):
            await job_log.append(builders.step(1, 1.0, number, 0.5))
        stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
        await eventually(lambda: len(heard) >= len(stored))
        assert heard == stored


async def test_whoever_hears_goes_on_hearing_after_a_restart_and_after_its_own_errors(
    broker: Broker, link: Bus
) -> None:
    heard: list[Stored] = []

    def call(message: Stored) -> None:
        heard.append(message)
        raise ValueError

    async with bus.connect(broker.url, name="edge") as listening:
        await listening.hear(subjects.ALL_LIVE, call, stop=asyncio.Event())
        renewed = listening.renewed
        broker.kill()
        broker.start()
        await asyncio.wait_for(renewed.wait(), 20)
        job_log = JobLog(link, publisher="test")
        for number in range(2):
            await job_log.append(builders.step(1, 1.0, number, 0.5))
        await eventually(lambda: len(heard) == 2)


async def test_hearing_waits_for_a_broker_and_gives_up_when_told(broker: Broker) -> None:
    stop = asyncio.Event()
    async with bus.connect("nats://127.0.0.1:1", name="edge", wait=False) as listening:
        hearing = asyncio.create_task(listening.hear(subjects.ALL_LIVE, lambda _: None, stop=stop))
        await asyncio.sleep(0)
        assert not hearing.done()
        stop.set()
        await asyncio.wait_for(hearing, 5)


def test_a_message_without_the_brokers_headers_is_no_live_message() -> None:
    assert republished(b"", b"x") is None
    assert republished(b"NATS/1.0\r\nNats-Sequence: x\r\nNats-Subject: a\r\n\r\n", b"") is None
    assert republished(b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n", b"") is None
    own = b"Nats-Subject: video.events.a.step\r\nNats-Sequence: 9\r\n\r\n"
    assert republished(SPOOFED[:-2] + own, b"x") == Stored("video.events.a.step", 9, b"x", 0.0)
