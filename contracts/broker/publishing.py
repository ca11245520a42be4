"""Writing to streams: publish with retries and optimistic concurrency, delete, and whether writes are acknowledged.

At-least-once delivery made safe: a publish lost with its connection is retried under the same message id, which the
broker deduplicates. Mixed into `bus.Bus`.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.js.api import PubAck

from contracts.broker.connection import REQUEST_TIMEOUT_S, RETRY_PAUSE_S, Connection
from contracts.broker.errors import NO_SUCH_MESSAGE, Denied, TooLarge, Unavailable, WrongSequence, refusal
from contracts.broker.silence import Silence
from contracts.process import tracing

PUBLISH_ATTEMPT_S = 1.0
NO_STREAM = "none"
UNSENT_BYTES_MAX = 64 * 1024
"""How many bytes may wait to be sent before a message that is not stored is dropped."""


class Expect(Struct, frozen=True):
    """Publish only if the last message on `subject` (None: the published one) has this sequence; 0 for no message."""

    sequence: int
    subject: str | None = None


class Schedule(Struct, frozen=True):
    """Keep the message, and publish its payload on `target`, a subject of the same stream, at a time of the broker.

    `at` is in Unix seconds; a time that has passed is now. A subject holds one scheduled message, the latest.
    """

    at: float
    target: str


class Published(Struct, frozen=True):
    """The sequence under which a message is stored; `duplicate` if a message of the same id was stored before."""

    sequence: int
    duplicate: bool


class Publishing(Connection):
    """The writing part of the bus."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expect: Expect | None = None,
        ttl_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        schedule: Schedule | None = None,
        within_s: float,
    ) -> Published:
        """Publish with retries, and return where the message is stored.

        Within the stream's duplicate window a message of one `message_id` is stored once; without an id, retries may
        store it twice. The message expires after `ttl_s`, or as the stream has it. `headers` go with it and its copies.
        With a `schedule` the broker publishes it later.

        With an expectation, an answer `duplicate` is no success: three brokers give it to the loser of a race whose
        message id equals the winner's. It raises `WrongSequence` as a refused expectation does, and both may speak of
        this call's own earlier try: read back the stored message (`contracts.job_log` does).

        Raises `StreamFull`, `SubjectFull`, `TooLarge`, `WrongSequence` or `Denied`, or `Unavailable` after `within_s`
        seconds of trying. An expectation that another message in flight contests is tried again until it is settled.
        """
        every_header = {**_headers(message_id, expect, ttl_s, schedule), **(headers or {})}
        answer = await self._publish_until_answered(subject, payload, every_header, within_s)
        if expect is not None and answer.duplicate:
            raise WrongSequence("a message of this id is stored already")
        return Published(answer.seq, bool(answer.duplicate))

    async def _publish_until_answered(
        self, subject: str, payload: bytes, headers: dict[str, str], within_s: float
    ) -> PubAck:
        """Publish with retries. Raises the `Refused` that an answer means, or `Unavailable` after `within_s`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                return await self._publish_once(subject, payload, headers, max(0.05, min(PUBLISH_ATTEMPT_S, left_s)))
            except Denied:
                self._client.counts.publishes_given_up += 1
                raise
            except (nats.errors.Error, OSError, Unavailable) as error:
                problem: Exception = error
            if asyncio.get_running_loop().time() + RETRY_PAUSE_S >= deadline:
                self._client.counts.publishes_given_up += 1
                raise Unavailable(f"publish to {subject}: {problem!r}") from problem
            self._client.counts.publish_retries += 1
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _publish_once(self, subject: str, payload: bytes, headers: dict[str, str], within_s: float) -> PubAck:
        """Publish without retries. Raises the `Refused` that an answer means, or an error after which to try again.

        Those errors are nats-py's, `OSError`, and `Unavailable` before the first connection.
        """
        self._check_begun()
        try:
            return await self._js.publish(subject, payload, timeout=within_s, headers=headers)
        except nats.js.errors.APIError as error:
            if (refused := refusal(error)) is not None:
                raise refused from error
            raise
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(str(error)) from error

    async def publish_unstored(self, subject: str, payload: bytes) -> bool:
        """Publish on plain NATS, where nobody acknowledges. Return False if the message was dropped.

        It is dropped, not queued, without a connection, and while `UNSENT_BYTES_MAX` wait to be sent (backpressure).
        """
        if not self.connected or self._client.pending_data_size > UNSENT_BYTES_MAX:
            return False
        try:
            await self._client.publish(subject, payload)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def delete(self, stream: str, sequence: int) -> None:
        """Delete a message for good, and overwrite it on disk; one that is gone is no error. Raises `Unavailable`."""
        with suppress(nats.js.errors.NotFoundError):
            try:
                await self._ask(lambda: self._js.delete_msg(stream, sequence))
            except nats.js.errors.APIError as error:
                if error.err_code not in NO_SUCH_MESSAGE:
                    raise

    async def purge(self, stream: str, pattern: str, *, before: int | None = None) -> None:
        """Delete for good the messages on a subject or pattern, those before a sequence or all. Raises `Unavailable`.

        Leaves no marker; the bytes stay on the broker's disk until it compacts that. A missing stream is no error.
        """
        with suppress(nats.js.errors.NotFoundError):
            await self._ask(lambda: self._js.purge_stream(stream, seq=before, subject=pattern))

    def acknowledgements(self, subject: str) -> Silence:
        """Return the failure detector of writes to all subjects with the same first two tokens.

        A refusal that only a stream which takes writes can give, such as that it is full, counts as an acknowledgement.
        """
        return self._client.acknowledgements(subject)

    async def have_refused(self, subject: str) -> None:
        """Try a write that the leader of the subject's stream refuses; `acknowledgements` show whether it did.

        Stores nothing, and raises nothing if there is no answer.
        """
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self._client.request(subject, timeout=REQUEST_TIMEOUT_S, headers={"Nats-Expected-Stream": NO_STREAM})


def _headers(
    message_id: str | None, expect: Expect | None, ttl_s: int | None, schedule: Schedule | None
) -> dict[str, str]:
    """Return the headers by which JetStream deduplicates, compares, expires and schedules a message, and its trace.

    The broker's copies of a message have its headers too.
    """
    headers: dict[str, str] = {}
    if (traceparent := tracing.current().traceparent) is not None:
        headers[tracing.HEADER] = traceparent
    if message_id is not None:
        headers["Nats-Msg-Id"] = message_id
    if expect is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expect.sequence)
        if expect.subject is not None:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = expect.subject
    if ttl_s is not None:
        headers["Nats-TTL"] = str(ttl_s)
    if schedule is not None:
        headers["Nats-Schedule"] = f"@at {datetime.fromtimestamp(schedule.at, UTC).isoformat()}"
        headers["Nats-Schedule-Target"] = schedule.target
    return headers
