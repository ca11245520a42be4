"""A right that the broker denies: one line of the log with user and subject, and no wait for the answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from structlog.testing import capture_logs

from contracts import subjects
from contracts.broker import Bus, bus
from contracts.broker.complaints import KINDS_MAX, Complaints, Denial
from contracts.broker.errors import Denied
from contracts.process.broker_settings import seed_file
from tests.kit.broker import Broker
from tests.kit.process import Process
from tests.kit.waiting import eventually

AT_ONCE_S = 1.0
ID = "e" * 32


@contextmanager
def denials() -> Generator[list[MutableMapping[str, Any]], None, None]:
    """What this process logs about denied rights, in the list once the block has ended."""
    found: list[MutableMapping[str, Any]] = []
    with capture_logs() as lines:
        yield found
    found += [line for line in lines if line["event"] == "right_denied"]


@asynccontextmanager
async def user(broker: Broker, name: str) -> AsyncGenerator[Bus, None]:
    async with bus.connect(broker.address, name=name, creds=str(seed_file(broker.keys, name))) as link:
        yield link


ASKED: dict[str, Callable[[Bus], Awaitable[object]]] = {
    f"video.events.{ID}.finished.succeeded": lambda link: link.publish(
        f"video.events.{ID}.finished.succeeded", b"", within_s=30
    ),
    "$JS.API.STREAM.MSG.GET.KV_video-numbers": lambda link: link.last("KV_video-numbers", "$KV.video-numbers.counts"),
    "$JS.API.STREAM.MSG.DELETE.VIDEO_EVENTS": lambda link: link.delete(subjects.EVENTS_STREAM, 1),
    "$JS.API.STREAM.PURGE.KV_video-status": lambda link: link.purge("KV_video-status", ">"),
    "$JS.API.STREAM.INFO.VIDEO_WEBHOOKS": lambda link: link.stream(subjects.WEBHOOKS_STREAM),
    "$JS.API.CONSUMER.INFO.VIDEO_EVENTS.webhooks": lambda link: link.consumer(subjects.EVENTS_STREAM, "webhooks"),
}


@pytest.mark.parametrize("subject", ASKED)
async def test_a_request_that_is_denied_fails_at_once_and_is_one_line(subject: str, broker: Broker, link: Bus) -> None:
    with denials() as said:
        async with user(broker, "edge") as edge:
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises(Denied, match="does not let this user publish to"):
                    await ASKED[subject](edge)
                assert time.monotonic() - began < AT_ONCE_S
            assert await edge.get(subjects.STATUS_BUCKET, ID) is None  # what it may ask is answered as ever
    (line,) = said
    assert (line["log_level"], line["user"], line["subject"]) == ("error", "edge", subject)


async def test_requests_that_are_allowed_go_on_beside_one_that_is_denied(broker: Broker, link: Bus) -> None:
    async with user(broker, "edge") as edge:

        async def may() -> int:
            return (await edge.stream(subjects.JOBS_STREAM)).state.messages

        async def may_not() -> None:
            with pytest.raises(Denied):
                await edge.purge(subjects.JOBS_STREAM, ">")

        assert await asyncio.gather(*(may() for _ in range(20)), may_not(), may_not()) == [0] * 20 + [None] * 2


async def test_what_is_denied_of_many_jobs_is_one_line(broker: Broker, link: Bus) -> None:
    with denials() as said:
        async with user(broker, "edge") as edge:
            for number in range(2 * KINDS_MAX):
                await edge.publish_unstored(f"video.events.{number:032x}.step", b"")
            await eventually(lambda: edge.counts.denials == 2 * KINDS_MAX)
    assert len(said) == 1


def test_the_kind_of_a_denial_leaves_out_what_is_drawn() -> None:
    assert Denial("publish", f"video.events.{ID}.step").kind == "publish video.events"
    assert Denial("publish", "$JS.ACK.S.follow-1.1.2.3.4.0").kind == "publish $JS.ACK.S.follow-1"
    assert (
        Denial("publish", f"$JS.API.DIRECT.GET.S.video.events.{ID}").kind == "publish $JS.API.DIRECT.GET.S.video.events"
    )
    assert Denial("subscribe", "_INBOX_edge.abc.*").kind == Denial("subscribe", "_INBOX_edge.def.*").kind


def test_a_subject_is_spelled_as_it_was_asked_for() -> None:
    complaints = Complaints()
    error = nats.errors.Error('nats: permissions violation for publish to "$js.api.stream.msg.get.kv_video-status"')
    assert complaints.is_new(error)
    assert complaints.denied == Denial("publish", "$JS.API.STREAM.MSG.GET.KV_video-status")


async def test_a_process_with_the_key_of_another_says_within_a_second_what_it_may_not(
    broker: Broker, link: Bus, tmp_path: Path
) -> None:
    stores = {"VIDEO_STORE_URL": str(tmp_path), "SCRATCH_STORE_URL": str(tmp_path)}
    variables = {**broker.environment, "NATS_CREDS": str(seed_file(broker.keys, "webhooks")), **stores}
    state = Process(["-m", "services.state"], tmp_path / "log", **variables).start()
    try:
        await eventually(lambda: any(line["event"] == "right_denied" for line in state.lines), within_s=30)
        said = next(line for line in state.lines if line["event"] == "right_denied")
        assert (said["user"], said["right"]) == ("state", "subscribe to")
        assert said["subject"].startswith("_INBOX_state.")
    finally:
        state.stop()
