"""Reading streams: messages, subjects, counts, the state of streams and consumers, and the broker's clock.

Reads that decide something ask the stream's leader. Cheaper reads (direct gets) may be answered by any replica and may
be stale; if no replica answers, the leader is asked. Mixed into `bus.Bus`.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import cast

import nats.errors
import nats.js.errors
from nats.js.api import ConsumerInfo, RawStreamMsg, StreamInfo
from nats.js.client import JetStreamContext

from contracts.broker import direct_get, last_message
from contracts.broker.client import FailoverClient
from contracts.broker.connection import REQUEST_TIMEOUT_S, REQUEST_WITHIN_S, Connection
from contracts.broker.direct_get import Stored
from contracts.broker.errors import Unavailable
from contracts.process import log, tracing
from contracts.subjects import JOBS_STREAM

DIRECT_WITHIN_S = 0.4
PROVISION_PAUSE_S = 0.25
READ_BATCH = 256
SUBJECTS_MAX = 1024
CLOCK_AGE_S_MAX = 60.0
EVERY_SUBJECT = ">"
"""The one pattern for which nats-server knows how many messages are left, without a scan of the stream."""


class Streams(Connection):
    """The reading part of the bus. Every method raises `Unavailable` if the broker does not answer in time."""

    def __init__(self, client: FailoverClient, stop: asyncio.Event | None) -> None:
        super().__init__(client, stop)
        self._clock: tuple[float, float] | None = None
        """When the broker was asked for its time, on the monotonic clock, and the time that it gave."""

    @property
    def admin(self) -> JetStreamContext:
        """Return the bare client, with which provisioning makes, changes and resets streams and consumers."""
        return self._js

    async def last(
        self, stream: str, subject: str, *, leader: bool = True, within_s: float = REQUEST_WITHIN_S
    ) -> Stored | None:
        """Return the last message on a subject or pattern; None if there is none, or no such stream.

        `leader=False` may be stale with replicas, and is cheaper; the leader is asked if no replica answers at once.
        """
        if not leader:
            with suppress(Unavailable):
                return await self._last(stream, subject, direct=True, within_s=min(DIRECT_WITHIN_S, within_s))
        return await self._last(stream, subject, direct=False, within_s=within_s)

    async def _last(self, stream: str, subject: str, *, direct: bool, within_s: float) -> Stored | None:
        """Return the last message on a subject, from any replica if `direct`, else from the leader; None for none."""
        look = last_message.from_replica if direct else last_message.from_leader
        return await self._ask_bounded(partial(look, self._client, stream, subject), within_s=within_s)

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """Return the message at a sequence, from the leader; None if it is gone or cannot be read."""
        try:
            return _stored(await self._ask(lambda: self._js.get_msg(stream, sequence)))
        except nats.js.errors.NotFoundError:
            return None

    async def read(
        self,
        stream: str,
        pattern: str,
        *,
        after: int = 0,
        at_most: int | None = None,
        within_s: float = REQUEST_WITHIN_S,
    ) -> list[Stored]:
        """Return the messages on a pattern in a stream that come after a sequence, in order, from any replica.

        Those are the first `at_most`, or all. With replicas the last may be missing. `within_s` is for each batch.
        """
        found: list[Stored] = []
        pending = 1
        while pending > 0 and (at_most is None or len(found) < at_most):
            batch = READ_BATCH if at_most is None else min(READ_BATCH, at_most - len(found))
            messages, pending = await self.page(stream, pattern, after=after, at_most=batch, within_s=within_s)
            found += messages
            after = found[-1].sequence if found else after
        return found

    async def last_of_each(
        self, stream: str, patterns: Sequence[str], *, within_s: float = REQUEST_WITHIN_S
    ) -> list[Stored]:
        """Return the last message of every subject that matches one of the patterns, from any replica.

        With replicas the messages may be stale. JetStream answers for at most `SUBJECTS_MAX` subjects: with more, this
        raises `Unavailable`.
        """
        messages, _ = await self._direct_batch(stream, {"multi_last": list(patterns)}, within_s=within_s)
        return messages

    async def page(
        self, stream: str, pattern: str, *, after: int, at_most: int = READ_BATCH, within_s: float = REQUEST_WITHIN_S
    ) -> tuple[list[Stored], int]:
        """Return up to `at_most` messages as `read` finds them, and how many more there are after them."""
        request = {"batch": at_most, "seq": after + 1, "next_by_subj": pattern}
        return await self._direct_batch(stream, request, within_s=within_s)

    async def count_after(self, stream: str, subject: str, sequence: int) -> int | None:
        """Count all messages that come after this one; None if no message of this subject is at the sequence (now).

        May be stale with replicas. The cost does not grow with the stream, since no subject has to be matched.
        """
        request = {"batch": 1, "seq": sequence, "next_by_subj": EVERY_SUBJECT}
        try:
            found = await direct_get.one(self._client, stream, request)
        except (nats.errors.Error, nats.js.errors.APIError, TimeoutError, OSError):
            messages, pending = await self._direct_batch(stream, request)
            found = (messages[0], pending) if messages else None
        return found[1] if found and (found[0].subject, found[0].sequence) == (subject, sequence) else None

    async def now(self) -> float:
        """Return the time by the broker's clock, in Unix seconds, which is the clock of every `Stored.at`.

        Compare stamps of the broker with this time and never with `time.time()`: a host's own clock may be a day off.
        The broker is asked once in `CLOCK_AGE_S_MAX`; the monotonic clock carries the answer on in between.
        """
        asked_at, there = self._clock or (-math.inf, 0.0)
        if time.monotonic() - asked_at > CLOCK_AGE_S_MAX:
            request = f"$JS.API.STREAM.INFO.{JOBS_STREAM}"
            answer = await self._ask(lambda: self._client.request(request, b"", timeout=REQUEST_TIMEOUT_S))
            asked_at, there = time.monotonic(), _time_in(answer.data)
            self._clock = asked_at, there
        return there + time.monotonic() - asked_at

    async def stream(self, name: str, *, within_s: float = REQUEST_WITHIN_S) -> StreamInfo:
        """Return the configuration and state of a stream, also from a broker without a leader.

        Raises `nats.js.errors.NotFoundError` if there is none.
        """
        return await self._ask(lambda: self._js.stream_info(name), within_s=within_s)

    async def wait_for_streams(self, *names: str, stop: asyncio.Event) -> None:
        """Wait until provisioning has made all these streams, or `stop` is set; through an outage too. Logs once."""
        logged = False
        while not stop.is_set():
            try:
                for name in names:
                    await self.stream(name)
            except (nats.js.errors.NotFoundError, Unavailable) as error:
                if not logged:
                    log.get().warning("waiting_for_streams", error=str(error))
                logged = True
                await asyncio.sleep(PROVISION_PAUSE_S)
            else:
                return

    async def consumer(self, stream: str, durable: str) -> ConsumerInfo:
        """Return the configuration and state of a durable consumer, from the leader.

        Raises `nats.js.errors.NotFoundError` if there is none.
        """
        return await self._ask(lambda: self._js.consumer_info(stream, durable))

    async def _direct_batch(
        self, stream: str, request: Mapping[str, object], *, within_s: float = REQUEST_WITHIN_S
    ) -> tuple[list[Stored], int]:
        """Return what `direct_get.batch` does. Raises `Unavailable`, also if the request is refused."""
        try:
            return await self._ask(lambda: direct_get.batch(self._client, stream, request), within_s=within_s)
        except nats.js.errors.APIError as error:
            raise Unavailable(f"reading {stream}: {error}") from error


def _time_in(answer: bytes) -> float:
    """Return the server's time in an answer of its API, in Unix seconds. Raises `Unavailable`."""
    try:
        return datetime.fromisoformat(json.loads(answer)["ts"]).timestamp()
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"the broker does not say what time it is: {error!r}") from error


def _stored(message: RawStreamMsg) -> Stored:
    """Return nats-py's message as `Stored`; its `at` is 0 if the broker gave no time."""
    at = 0.0 if message.time is None else message.time.timestamp()
    trace = cast("dict[str, str]", message.headers or {}).get(tracing.HEADER)
    return Stored(message.subject or "", message.seq or 0, message.data or b"", at, trace)
