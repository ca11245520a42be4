"""The headers of events are CloudEvents, judged by the `cloudevents` package, and the broker's copies keep them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import cloud_events, event_names, message_ids, subjects, wire
from contracts.broker import Bus
from contracts.events import Event
from contracts.job_log import JobLog
from tests.kit.broker import Broker
from tests.kit.builders import ID, cancelled, started, step, submitted
from tests.kit.waiting import eventually

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
HEARD_WITHIN_S = 5


@asynccontextmanager
async def connected(broker: Broker) -> AsyncGenerator[Client, None]:
    """A client of nats-py alone, as strangers have it."""
    client = await nats.connect(broker.url)
    try:
        yield client
    finally:
        await client.close()


def judged(headers: dict[str, str], body: bytes) -> dict[str, object]:
    """Return the attributes that the oracle reads from a message; it raises for what is no CloudEvent."""
    event = from_binary_event(HTTPMessage(headers, body), JSONFormat())
    return dict(event.get_attributes())


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_event_ever_published_makes_a_cloud_event(file: Path) -> None:
    event = wire.decode_event(file.read_bytes())
    attributes = judged(cloud_events.headers(event, message_ids.of(event, "p")), file.read_bytes())
    assert attributes["id"] == message_ids.of(event, "p")
    assert attributes["subject"] == event.job_id
    assert attributes["type"] == f"io.wanjet.job.v1.{subjects.event(event).rpartition('.')[2]}"
    assert attributes["datacontenttype"] == "application/json"
    assert isinstance(attributes["time"], datetime)


def test_every_kind_of_event_has_a_name_of_its_own_and_a_pattern() -> None:
    assert set(event_names.names().values()) == set(get_args(Event))
    events = [wire.decode_event(file.read_bytes()) for file in GOLDEN]
    assert {event_names.name_of(event) for event in events} == set(event_names.names())
    for event in events:
        assert subjects.event(event).replace(event.job_id, "*") == event_names.pattern_of(event_names.name_of(event))


@pytest.mark.parametrize("publisher", ["rank 0", 'a"b', "100%", "ünï", "a\r\nce-type: x"])
def test_a_publisher_of_any_name_makes_a_header_that_is_read_back_as_it_was(publisher: str) -> None:
    event = started(1, 5.0)
    headers = cloud_events.headers(event, message_ids.of(event, publisher))
    assert headers["ce-id"].isascii()
    assert headers["ce-id"].isprintable()
    assert judged(headers, b"{}")["id"] == message_ids.of(event, publisher)


@pytest.mark.parametrize("at", [0.0, 0.0004, 1e11, 1_700_000_000.999_9])
def test_any_time_that_an_event_may_have_is_one_to_the_oracle(at: float) -> None:
    time = judged(cloud_events.headers(cancelled(at), "id"), b"{}")["time"]
    assert isinstance(time, datetime)
    assert abs((time - datetime.fromtimestamp(at, UTC)).total_seconds()) <= 0.001


@pytest.mark.parametrize("submission", [b"{", b"\xff", b"[" * 100_000, b'{"created_at": "now"}', b"{}"])
def test_a_submission_whose_time_cannot_be_read_goes_without_one(submission: bytes) -> None:
    headers = cloud_events.submission_headers(ID, submission)
    assert "ce-time" not in headers
    assert judged(headers, b"{}")["subject"] == ID


def test_a_submission_has_the_same_headers_however_it_is_published() -> None:
    event = submitted(12.5)
    assert cloud_events.submission_headers(ID, wire.encode(event)) == cloud_events.headers(event, ID)


async def test_whoever_listens_hears_each_event_as_a_cloud_event(link: Bus, broker: Broker) -> None:
    heard: list[Msg] = []
    job_log = JobLog(link, "rank 0")

    async def hear(message: Msg) -> None:
        heard.append(message)

    async with connected(broker) as client:
        await client.subscribe(subjects.ALL_LIVE, cb=hear)
        await client.flush()
        await job_log.queue.add(submitted(12.5), within_s=2)
        await eventually(lambda: len(heard) == 1, within_s=HEARD_WITHIN_S)
        for event in (started(1, 13.0), step(1, 14.0, 3, 0.5), cancelled(15.0)):
            await job_log.append(event)
        await eventually(lambda: len(heard) == 4, within_s=HEARD_WITHIN_S)
    found = [judged(dict(message.headers or {}), message.data) for message in heard]
    assert [attributes["type"] for attributes in found] == [
        f"io.wanjet.job.v1.{name}" for name in ("submitted", "started", "step", "cancelled")
    ]
    assert [attributes["id"] for attributes in found] == [(message.headers or {})["Nats-Msg-Id"] for message in heard]
    assert {attributes["source"] for attributes in found} == {"/wanjet/jobs"}


async def test_a_job_that_the_queue_had_lost_comes_back_with_the_same_headers(link: Bus, broker: Broker) -> None:
    payload = wire.encode(submitted(12.5))
    await JobLog(link, "state").queue.requeue(ID, payload, within_s=2)
    await JobLog(link, "state").copy_submission(ID, payload, within_s=2)
    async with connected(broker) as client:
        for stream, subject in (
            (subjects.JOBS_STREAM, subjects.job(ID, subjects.REQUEUED_LANE)),
            (subjects.EVENTS_STREAM, subjects.submission_of(ID)),
        ):
            message = await client.jetstream().get_last_msg(stream, subject)
            expected = cloud_events.headers(submitted(12.5), ID)
            assert {name: (message.headers or {}).get(name) for name in expected} == expected
