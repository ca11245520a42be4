"""The door to the broker: a thin wrapper that makes nats-py keep its promises over restarts and lost answers.

Knows JetStream, and of WanJet only the names in `subjects`; decodes nothing. What it works round in nats-py 2.16:
a publish lost with its connection (retried under the same message id), a fetch that hangs over a restart (own
pulls), a client that gives up reconnecting or is closed for good (`lost`), refusals known only by number.

On three brokers: requests wait inside for a new leader, up to a deadline; a direct get that no replica answers is asked
of the leader; a client without answers goes to another server (`connection`).
"""

import asyncio
import json
import math
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import nats
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo, RawStreamMsg, StreamInfo
from nats.js.client import JetStreamContext

from contracts.broker import reading
from contracts.broker.complaints import Denial
from contracts.broker.connection import Connection
from contracts.broker.reading import Stored
from contracts.broker.server_version import Server
from contracts.broker.silence import Silence
from contracts.process import log
from contracts.process.credentials import SEED_SUFFIXES
from contracts.subjects import JOBS_STREAM, bucket_key, bucket_stream

T = TypeVar("T")

CONNECT_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 1
PINGS_UNANSWERED_MAX = 2
REQUEST_TIMEOUT_S = 2.0
REQUEST_WITHIN_S = 12.0  # with the route pings of cluster.conf a new leader is there some 6 s after the old one froze
DIRECT_WITHIN_S = 0.4
PUBLISH_ATTEMPT_S = 1.0
RETRY_PAUSE_S = 0.1
PROVISION_PAUSE_S = 0.25
PULL_EXPIRES_S = 30.0
PULL_HEARTBEAT_S = 1.0
PULL_PAUSE_S_MAX = 5.0
PULL_SILENCE_S = 2.5 * PULL_HEARTBEAT_S
READ_BATCH = 256
FLUSH_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 2.0

COUNTER_DIGITS_MAX = 15
COUNT_TRIES_MAX = 50
CLOCK_AGE_S_MAX = 60.0
NO_STREAM = "none"
NO_RESPONDERS = "503"
OF_A_DELIVERY = "$JS.ACK."
"""How the reply subject of a consumer's every message begins; what the broker says to a pull has no such subject."""

_LIMIT_REACHED = 10077
_WRONG_SEQUENCE = 10071
_TOO_LARGE = 10054
_WRONG_SEQUENCE_WORDS = re.compile(r"wrong last sequence: ([0-9]{1,19})")
_NO_SUCH_MESSAGE = (10037, 10043, 10057)


class Unavailable(Exception):
    """The broker did not answer in time, or has no room on disk. What was published may have been stored."""


class Refused(Exception):
    """The broker stored nothing, and said why."""


class StreamFull(Refused):
    """The stream holds as many messages as it may."""


class SubjectFull(Refused):
    """The stream holds a message of this very subject already."""


class TooLarge(Refused):
    """The message is larger than the stream, or the server, takes."""


class WrongSequence(Refused):
    """Optimistic concurrency: the expected last message is not the last one, or the message may be there already.

    `last` is the sequence that the broker named, None if it named none.
    """

    def __init__(self, words: str, last: int | None = None) -> None:
        super().__init__(words)
        self.last = last


class Expect(Struct, frozen=True):
    """Publish only if the last message on `subject` (None: the published one) has this sequence; 0 for no message."""

    sequence: int
    subject: str | None = None


class Published(Struct, frozen=True):
    """The sequence under which a message is stored; `duplicate` if a message of the same id was stored before."""

    sequence: int
    duplicate: bool


class Delivery:
    """A message that a durable consumer gave us to work on: ours until `ack_wait` passes without a sign of life."""

    def __init__(self, message: Msg, client: Connection) -> None:
        self._message, self._client = message, client
        self.subject, self.data = message.subject, message.data
        self.at = message.metadata.timestamp.timestamp()  # when it was stored

    async def keep(self) -> None:
        """Still at work: the time to acknowledge starts again."""
        await _quietly(self._message.in_progress())

    async def acknowledge(self) -> None:
        """Done, and known to be stored. Raises `Unavailable` where the broker does not say so: it comes again."""
        deadline = _now() + REQUEST_WITHIN_S
        while _now() < deadline:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await self._message.ack_sync(timeout=REQUEST_TIMEOUT_S)
                return
            await asyncio.sleep(RETRY_PAUSE_S)
        raise Unavailable(f"acknowledging {self.subject}")

    async def hand_back(self, *, after_s: float = 0.0) -> None:
        """Give the message back undone, to the next one who asks, at once or after a pause.

        It is on its way when this returns: the process may end.
        """
        await _quietly(self._message.nak(delay=after_s or None))
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self._client.flush(timeout=FLUSH_TIMEOUT_S)


class Bus:
    """One connection. `lost` once it is closed for good, which nothing but a new process mends."""

    def __init__(self, client: Connection, stop: asyncio.Event | None) -> None:
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._stop = stop or asyncio.Event()
        self._renewed = asyncio.Event()
        self._begun = False
        self._ending = False
        self._servers = ""
        self._pauses: dict[str, float] = {}
        """By durable, for how long the next refused pull waits."""
        self._clock: tuple[float, float] | None = None
        """When the broker was asked for its time, on the monotonic clock, and the time that it gave."""
        self.lost = False
        self.failure: str | None = None
        """Why no connection can be tried at all, whatever the broker would say; None if one can."""

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def begun(self) -> bool:
        """Return whether the client has been connected once."""
        return self._begun

    @property
    def refusal(self) -> str | None:
        """Return the reason for which the broker does not let this process in; None if it does, or if nobody knows."""
        return self._client.complaints.refusal

    @property
    def denied(self) -> Denial | None:
        """Return the right that the broker last denied this user; None if it has denied none."""
        return self._client.complaints.denied

    @property
    def server(self) -> Server:
        """Return the version and the limits of the server that the client is at."""
        return Server(self._client.server_version, self._client.max_payload)

    async def begin(self, servers: list[str], name: str, creds: str | None) -> None:
        """Connect, however long that takes; from then on nats-py reconnects by itself, without limit.

        nats-py tries its servers in turn, the one that it leaves last, unless it draws them: the draw is made here.
        """
        self._servers = ",".join(server.rpartition("@")[2] for server in servers)
        await self._client.connect(
            secrets.SystemRandom().sample(servers, len(servers)),
            dont_randomize=True,
            name=name,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType]  # typed int, used as a float
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_UNANSWERED_MAX,
            inbox_prefix=f"_INBOX_{name}",
            **_credentials(creds),
        )
        self._client.note_connected(RECONNECT_WAIT_S)
        self._begun = True

    def on_begun(self, begun: asyncio.Task[None]) -> None:
        error = None if begun.cancelled() else begun.exception()
        if error is not None and not self._ending:  # a connecting client that is closed fails in many ways
            self.failure = repr(error)
            log.get().error("broker_refused", error=repr(error))
            self._stop.set()

    async def _on_error(self, error: Exception) -> None:
        """Loud, but one line an outage and reason for what repeats five times a second."""
        if self._client.note_error(error):
            log.get().error("broker_error", error=repr(error), servers=self._servers)

    async def _on_disconnected(self) -> None:
        if not self._ending:
            log.get().warning("broker_disconnected")

    async def _on_reconnected(self) -> None:
        """Wake every pull, since the one it waits for died with the old connection."""
        self._client.note_connected(RECONNECT_WAIT_S)
        self._client.begin_anew()
        log.get().info("broker_reconnected")
        self._renewed.set()
        self._renewed = asyncio.Event()

    async def _on_closed(self) -> None:
        if not self._ending:
            self.lost = True
            self._stop.set()

    async def end(self) -> None:
        """Close the connection. No failure to close takes the place of the error that ends the block."""
        self._ending = True
        with suppress(Exception):  # nats-py fails by assertions if it has not got far enough to be closed
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._client.close()

    def _check_begun(self) -> None:
        if not self._begun:
            raise Unavailable("no connection yet")

    def _check_connected(self) -> None:
        """For what is asked again: nats-py would keep each repetition, and send them all once it is connected."""
        if not self._client.is_connected:
            raise Unavailable("no connection")

    # -- writing ---------------------------------------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expect: Expect | None = None,
        ttl_s: int | None = None,
        within_s: float,
    ) -> Published:
        """Publish with retries, and return where the message is stored.

        With an expectation, an answer `duplicate` is no success: three brokers give it to the loser of a race whose
        message id equals the winner's. It raises `WrongSequence` as a refused expectation does, and both may speak of
        this call's own earlier try: read back what is there (`contracts.job_log` does).

        Raises `StreamFull`, `SubjectFull`, `TooLarge`, `WrongSequence` or, after `within_s` seconds of trying,
        `Unavailable`. An expectation that another message in flight contests is tried again until it is settled.
        """
        headers = _headers(message_id, expect, ttl_s)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                self._check_begun()
                answer = await self._js.publish(
                    subject, payload, timeout=max(0.05, min(PUBLISH_ATTEMPT_S, left_s)), headers=headers
                )
            except nats.js.errors.APIError as error:
                if (refusal := _refusal(error)) is not None:
                    raise refusal from error
                problem: Exception = error
            except nats.errors.MaxPayloadError as error:
                raise TooLarge(str(error)) from error
            except (nats.errors.Error, OSError, Unavailable) as error:
                problem = error
            else:
                if expect is not None and answer.duplicate:
                    raise WrongSequence("a message of this id is stored already")
                return Published(answer.seq, bool(answer.duplicate))
            if asyncio.get_running_loop().time() + RETRY_PAUSE_S >= deadline:
                raise Unavailable(f"publish to {subject}: {problem!r}") from problem
            await asyncio.sleep(RETRY_PAUSE_S)

    def acknowledgements(self, subject: str) -> Silence:
        """For how long writes to subjects of this kind (the first two tokens) have gone without an acknowledgement.

        A refusal that only a stream which takes writes can give, such as that it is full, counts as one.
        """
        return self._client.acknowledgements(subject)

    async def have_refused(self, subject: str) -> None:
        """Try a write that the leader of the subject's stream refuses; `acknowledgements` show whether it did."""
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self._client.request(subject, timeout=REQUEST_TIMEOUT_S, headers={"Nats-Expected-Stream": NO_STREAM})

    async def delete(self, stream: str, sequence: int) -> None:
        """Delete a message; one that is gone already is no error."""
        with suppress(nats.js.errors.NotFoundError):
            try:
                await self._ask(lambda: self._js.delete_msg(stream, sequence))
            except nats.js.errors.APIError as error:
                if error.err_code not in _NO_SUCH_MESSAGE:
                    raise

    # -- reading ---------------------------------------------------------------------------------------------------

    async def last(
        self, stream: str, subject: str, *, leader: bool = True, within_s: float = REQUEST_WITHIN_S
    ) -> Stored | None:
        """The last message on a subject or pattern.

        `leader=False` may be stale with replicas, and is cheaper; the leader is asked where no replica answers at once.
        """
        if not leader:
            with suppress(Unavailable):
                return await self._last(stream, subject, direct=True, within_s=min(DIRECT_WITHIN_S, within_s))
        return await self._last(stream, subject, direct=False, within_s=within_s)

    async def _last(self, stream: str, subject: str, *, direct: bool, within_s: float) -> Stored | None:
        try:
            message = await self._ask(lambda: self._js.get_last_msg(stream, subject, direct=direct), within_s=within_s)
        except nats.js.errors.NotFoundError:
            return None
        return _stored(message)

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """Return the message at a sequence, from the leader; None if it is gone or cannot be read."""
        try:
            return _stored(await self._ask(lambda: self._js.get_msg(stream, sequence)))
        except nats.js.errors.NotFoundError:
            return None

    async def read(
        self, stream: str, pattern: str, *, after: int = 0, within_s: float = REQUEST_WITHIN_S
    ) -> list[Stored]:
        """Return the messages on a pattern in a stream, in order, by batches of direct gets, each within the limit."""
        found: list[Stored] = []
        pending = 1
        while pending > 0:
            request = {"batch": READ_BATCH, "seq": after + 1, "next_by_subj": pattern}
            messages, pending = await self._direct_batch(stream, request, within_s=within_s)
            found += messages
            after = found[-1].sequence if found else after
        return found

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Every subject of a stream that matches and has a message (of the leader, up to 100,000 of them)."""
        info = await self._ask(lambda: self._js.stream_info(stream, subjects_filter=pattern))
        return list(info.state.subjects or ())

    async def count_after(self, stream: str, pattern: str, sequence: int) -> int | None:
        """How many messages on a pattern come after that sequence; None where it is not (or no longer) there."""
        request = {"batch": 1, "seq": sequence, "next_by_subj": pattern}
        messages, pending = await self._direct_batch(stream, request)
        return pending if messages and messages[0].sequence == sequence else None

    async def now(self) -> float:
        """Return the time by the broker's clock, in Unix seconds, which is the clock of every `Stored.at`.

        Compare stamps of the broker with this and never with `time.time()`: a host's own clock may be a day off. Asked
        for once in `CLOCK_AGE_S_MAX` and carried on by the monotonic clock in between. Raises `Unavailable`.
        """
        asked_at, there = self._clock or (-math.inf, 0.0)
        if time.monotonic() - asked_at > CLOCK_AGE_S_MAX:
            request = f"$JS.API.STREAM.INFO.{JOBS_STREAM}"
            answer = await self._ask(lambda: self._client.request(request, b"", timeout=REQUEST_TIMEOUT_S))
            asked_at, there = time.monotonic(), _time_in(answer.data)
            self._clock = asked_at, there
        return there + time.monotonic() - asked_at

    async def stream(self, name: str, *, within_s: float = REQUEST_WITHIN_S) -> StreamInfo:
        """Return what a stream is and holds, also of a broker without a leader. Raises `NotFoundError`."""
        return await self._ask(lambda: self._js.stream_info(name), within_s=within_s)

    async def wait_for_streams(self, *names: str, stop: asyncio.Event) -> None:
        """Return once provisioning has made them all, or at `stop`."""
        told = False
        while not stop.is_set():
            try:
                for name in names:
                    await self.stream(name)
            except (nats.js.errors.NotFoundError, Unavailable) as error:
                if not told:
                    log.get().warning("waiting_for_streams", error=str(error))
                told = True
                await asyncio.sleep(PROVISION_PAUSE_S)
            else:
                return

    async def consumer(self, stream: str, durable: str) -> ConsumerInfo:
        return await self._ask(lambda: self._js.consumer_info(stream, durable))

    async def _direct_batch(
        self, stream: str, request: Mapping[str, object], *, within_s: float = REQUEST_WITHIN_S
    ) -> tuple[list[Stored], int]:
        try:
            return await self._ask(lambda: reading.batch(self._client, stream, request), within_s=within_s)
        except nats.js.errors.APIError as error:
            raise Unavailable(f"reading {stream}: {error}") from error

    async def _ask(self, request: Callable[[], Awaitable[T]], *, within_s: float = REQUEST_WITHIN_S) -> T:
        """The answer to a request; what the broker refuses stays nats-py's `APIError`.

        Without an answer, or without a leader to give one, asks again until `within_s` have passed or the process is
        told to stop, and raises `Unavailable`.
        """
        deadline = _now() + within_s
        while True:
            try:
                self._check_connected()
                async with asyncio.timeout(max(RETRY_PAUSE_S, min(REQUEST_TIMEOUT_S, deadline - _now()))):
                    return await request()
            except nats.js.errors.ServiceUnavailableError as error:
                problem: Exception = error
            except nats.js.errors.APIError:
                raise
            except (nats.errors.Error, TimeoutError, OSError, Unavailable) as error:
                problem = error
            if self._stop.is_set() or _now() + RETRY_PAUSE_S >= deadline:
                raise Unavailable(repr(problem)) from problem
            await asyncio.sleep(RETRY_PAUSE_S)

    # -- buckets ---------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Stored | None:
        found = await self.last(bucket_stream(bucket), bucket_key(bucket, key), leader=False)
        return found if found is not None and found.data else None  # a deleted key leaves an empty message

    async def put(self, bucket: str, key: str, value: bytes, *, revision: int, ttl_s: int | None = None) -> None:
        """Write where the key still is at `revision` (0 for no key, or a deleted one). Raises `WrongSequence`."""
        subject = bucket_key(bucket, key)
        write = partial(self.publish, subject, value, ttl_s=ttl_s, within_s=REQUEST_WITHIN_S)
        try:
            await write(expect=Expect(revision))
        except WrongSequence:
            there = await self.last(bucket_stream(bucket), subject)
            if revision or there is None or there.data:
                raise
            await write(expect=Expect(there.sequence))

    async def put_last(self, bucket: str, key: str, value: bytes) -> None:
        """Write whatever was there; an empty value removes it."""
        await self.publish(bucket_key(bucket, key), value, within_s=REQUEST_WITHIN_S)

    async def count(self, bucket: str, key: str) -> int:
        """Return a counter's value; 0 if nobody has counted yet, or if what is there is no counter."""
        return _counted(await self.get(bucket, key))

    async def count_up(self, bucket: str, key: str) -> None:
        """Add one to a counter by compare-and-set. A value that is no counter begins anew at 1.

        Raises `Unavailable` if other writers are quicker `COUNT_TRIES_MAX` times in a row.
        """
        for _ in range(COUNT_TRIES_MAX):
            stored = await self.get(bucket, key)
            with suppress(WrongSequence):
                return await self.put(
                    bucket,
                    key,
                    str(_counted(stored) + 1).encode(),
                    revision=0 if stored is None else stored.sequence,
                )
        raise Unavailable(f"{COUNT_TRIES_MAX} counts of {key} were overtaken")

    async def values(self, bucket: str) -> list[bytes]:
        """The last value of every key that has one; with replicas they may be stale."""
        request = {"multi_last": [bucket_key(bucket, ">")]}
        messages, _ = await self._direct_batch(bucket_stream(bucket), request)
        return [message.data for message in messages if message.data]

    # -- listening -------------------------------------------------------------------------------------------------

    async def listen(self, subject: str, call: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Call with subject and payload for every message from now on; what passes while away is missed."""

        async def on_message(message: Msg) -> None:
            await call(message.subject, message.data)

        await self._client.subscribe(subject, cb=on_message)
        await self._client.flush()

    async def pull(self, stream: str, durable: str, *, stop: asyncio.Event) -> Delivery | None:
        """The next message of a durable consumer, not acknowledged yet.

        None when the pull ran out, the connection was renewed or `stop` is set: look around, and pull again. Each pull
        has an inbox of its own, so that no message can fall to a pull that nobody waits for.
        """
        inbox: asyncio.Queue[Msg] = asyncio.Queue()
        reply = self._client.new_inbox()
        request = {"batch": 1, "expires": _ns(PULL_EXPIRES_S), "idle_heartbeat": _ns(PULL_HEARTBEAT_S)}
        try:
            subscription = await self._client.subscribe(reply, cb=inbox.put)
            ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
            self._client.asked()
            await self._client.publish(ask, json.dumps(request).encode(), reply=reply)
            try:
                message = await self._first(inbox, [stop, self._renewed], durable)
                return None if message is None else Delivery(message, self._client)
            finally:
                await _quietly(subscription.unsubscribe())
                while not inbox.empty():  # came as we turned away: back to the queue at once
                    await Delivery(inbox.get_nowait(), self._client).hand_back()
        except nats.errors.Error as error:
            log.get().warning("pull_failed", stream=stream, error=repr(error))
            await asyncio.sleep(RETRY_PAUSE_S)
            return None

    async def _pause_after_refusal(self, durable: str, message: Msg, stop: asyncio.Event) -> None:
        """Log the first refusal of an outage, and wait, longer each time: the consumer may be away for long."""
        pause_s = self._pauses.get(durable, RETRY_PAUSE_S)
        if durable not in self._pauses:
            log.get().warning("pull_refused", durable=durable, reason=message.headers)
        self._pauses[durable] = min(PULL_PAUSE_S_MAX, 2 * pause_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)

    async def _first(self, inbox: asyncio.Queue[Msg], ends: list[asyncio.Event], durable: str) -> Msg | None:
        waits = [asyncio.ensure_future(end.wait()) for end in ends]
        try:
            while not any(end.is_set() for end in ends):
                arrival = asyncio.ensure_future(inbox.get())
                await asyncio.wait([arrival, *waits], timeout=PULL_SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if not arrival.done():
                    arrival.cancel()
                    return None
                message = arrival.result()
                if message.reply.startswith(OF_A_DELIVERY):  # whatever headers its publisher has given it
                    self._client.answered()
                    self._pauses.pop(durable, None)
                    return message
                status = (message.headers or {}).get("Status")
                if status != NO_RESPONDERS:
                    self._client.answered()
                if status in ("100", "408"):
                    self._pauses.pop(durable, None)
                match status:
                    case "100":
                        continue
                    case "408":
                        return None
                    case _:
                        await self._pause_after_refusal(durable, message, ends[0])
                        return None
            return None
        finally:
            for wait in waits:
                wait.cancel()

    # -- for provisioning only -------------------------------------------------------------------------------------

    @property
    def admin(self) -> JetStreamContext:
        """The bare client, for making, changing and resetting streams and consumers."""
        return self._js


@asynccontextmanager
async def connect(
    url: str, *, name: str, creds: str | None = None, stop: asyncio.Event | None = None, wait: bool = True
) -> AsyncGenerator[Bus, None]:
    """A connection for the length of the block. It waits for the broker as long as it takes, or, with `wait=False`,
    connects behind the block's back and answers `Unavailable` until then.

    `url` may name several servers, parted by commas: where one is silent the client goes to the next. `creds` is a
    credentials file or an nkey seed file. `stop` is set where the connection is lost for good, so that the process ends
    and is started again; once it is set, requests no longer wait for a leader.
    """
    client, servers = Connection(), [server.strip() for server in url.split(",")]
    bus = Bus(client, stop)
    beginning = asyncio.create_task(bus.begin(servers, name, creds))
    beginning.add_done_callback(bus.on_begun)
    watching = asyncio.create_task(client.watch()) if len(servers) > 1 else None
    told_to_stop = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        if wait:
            await asyncio.wait([beginning, told_to_stop], return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                beginning.result()  # raises where the broker does not want us
        yield bus
    finally:
        for task in (beginning, told_to_stop, watching):
            if task is not None:
                task.cancel()
        await bus.end()


def _credentials(creds: str | None) -> dict[str, Any]:
    if creds is None:
        return {}
    return {"nkeys_seed": creds} if creds.endswith(SEED_SUFFIXES) else {"user_credentials": creds}


def _headers(message_id: str | None, expect: Expect | None, ttl_s: int | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if message_id is not None:
        headers["Nats-Msg-Id"] = message_id
    if expect is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expect.sequence)
        if expect.subject is not None:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = expect.subject
    if ttl_s is not None:
        headers["Nats-TTL"] = str(ttl_s)
    return headers


def _refusal(error: nats.js.errors.APIError) -> Refused | None:
    words = error.description or ""
    if error.err_code == _WRONG_SEQUENCE:
        named = _WRONG_SEQUENCE_WORDS.search(words)
        return WrongSequence(words, None if named is None else int(named[1]))
    if error.err_code == _TOO_LARGE:
        return TooLarge(words)
    if error.err_code != _LIMIT_REACHED:
        return None
    return SubjectFull(words) if "per subject" in words else StreamFull()


def _time_in(answer: bytes) -> float:
    """The server's time in an answer of its API."""
    try:
        return datetime.fromisoformat(json.loads(answer)["ts"]).timestamp()
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"the broker does not say what time it is: {error!r}") from error


def _counted(stored: Stored | None) -> int:
    """The number in a counter's message. Anybody may have written anything there, thousands of digits too."""
    text = b"" if stored is None else stored.data
    if stored is not None and not (text.isdigit() and len(text) <= COUNTER_DIGITS_MAX):
        log.get().error("counter_unreadable", subject=stored.subject)
        return 0
    return int(text or b"0")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _stored(message: RawStreamMsg) -> Stored:
    at = 0.0 if message.time is None else message.time.timestamp()
    return Stored(message.subject or "", message.seq or 0, message.data or b"", at)


async def _quietly(closing: Awaitable[None]) -> None:
    """For closing what may be closed already."""
    with suppress(nats.errors.Error, OSError):
        await closing
