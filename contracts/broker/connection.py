"""The connection of a process to the broker: it begins, is renewed after an outage, and ends; requests are repeated.

`streams`, `publishing`, `kv` and `pull` build on `Connection`; `bus.connect` makes the whole of them. It works round
two faults of nats-py 2.16: a client that gives up reconnecting or is closed for good (`lost`), and requests that hang
over a restart of the broker.

With three brokers, a request waits in `_ask` for a new leader; a client without answers goes to another server.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext
from typing import TypeVar

import nats.errors
import nats.js.errors

from contracts import request_subjects
from contracts.broker.client import FailoverClient
from contracts.broker.complaints import Complaints, is_denial
from contracts.broker.errors import Denied, Unavailable
from contracts.broker.server_version import Server
from contracts.process import log
from contracts.process.credentials import as_arguments

T = TypeVar("T")

CONNECT_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 1
PINGS_UNANSWERED_MAX = 2
REQUEST_TIMEOUT_S = 2.0
REQUEST_WITHIN_S = 12.0  # with the route pings of cluster.conf a new leader is there some 6 s after the old one froze
RETRY_PAUSE_S = 0.1
CLOSE_TIMEOUT_S = 2.0


class Connection:
    """The connection of one process. `lost` once it is closed for good; only a new process can connect then."""

    def __init__(self, client: FailoverClient, stop: asyncio.Event | None) -> None:
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._stop = stop or asyncio.Event()
        self._renewed = asyncio.Event()
        """Set, and replaced by a new Event, each time the client has reconnected."""
        self._begun = asyncio.Event()
        self._ending, self._servers, self._user = False, "", ""
        self.lost = False
        self.failure: str | None = None
        """Why no connection can be tried at all, whatever the broker would say; None if one can."""

    @property
    def connected(self) -> bool:
        """Return whether the client is connected now."""
        return self._client.is_connected

    @property
    def begun(self) -> bool:
        """Return whether the client has been connected once."""
        return self._begun.is_set()

    @property
    def complaints(self) -> Complaints:
        """Return why the broker does not let this process in, and which right it last denied; they go on changing."""
        return self._client.complaints

    @property
    def server(self) -> Server:
        """Return the version and the limits of the server that the client is at."""
        return Server(self._client.server_version, self._client.max_payload)

    async def begin(self, servers: list[str], name: str, user: str, creds: str | None, tls: SSLContext | None) -> None:
        """Connect, however long that takes; from then on nats-py reconnects by itself, without limit.

        The arguments are those of `bus.connect`. Raises nats-py's error if no connection can be tried at all. nats-py
        tries its servers in turn, the one that it leaves last, unless it draws them: the draw is made here.
        """
        self._user = user
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
            inbox_prefix=request_subjects.inbox_prefix(user),
            tls=tls,
            **as_arguments(creds),
        )
        self._client.note_connected(RECONNECT_WAIT_S)
        self._begun.set()

    def on_begun(self, begun: asyncio.Task[None]) -> None:
        """Note how the task of `begin` ended: a failure is logged, kept in `failure`, and sets `stop`."""
        error = None if begun.cancelled() else begun.exception()
        if error is not None and not self._ending:  # a connecting client that is closed fails in many ways
            self.failure = repr(error)
            log.get().error("broker_refused", error=repr(error))
            self._stop.set()

    async def end(self) -> None:
        """Close the connection for good, within `CLOSE_TIMEOUT_S`. Raises nothing: the block's own error stays."""
        self._ending = True
        with suppress(Exception):  # nats-py fails by assertions if it has not got far enough to be closed
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._client.close()

    async def _on_error(self, error: Exception) -> None:
        """Log an error of the client unless it has been logged: in an outage an error may come five times a second."""
        if not self._client.note_error(error):
            return
        if is_denial(error) and (denied := self.complaints.denied) is not None:
            log.get().error("right_denied", user=self._user, right=f"{denied.verb} to", subject=denied.subject)
        else:
            log.get().error("broker_error", error=repr(error), servers=self._servers)

    async def _on_disconnected(self) -> None:
        if not self._ending:
            log.get().warning("broker_disconnected")

    async def _on_reconnected(self) -> None:
        """Note the end of an outage, and wake every pull, since its request died with the old connection."""
        self._client.note_connected(RECONNECT_WAIT_S)
        self._client.begin_anew()
        log.get().info("broker_reconnected")
        self._renewed.set()
        self._renewed = asyncio.Event()

    async def _on_closed(self) -> None:
        """Set `lost` and `stop` if nats-py has closed the connection by itself."""
        if not self._ending:
            self.lost = True
            self._stop.set()

    def _check_begun(self) -> None:
        """Raise `Unavailable` if the client has not been connected yet."""
        if not self.begun:
            raise Unavailable("no connection yet")

    def _check_connected(self) -> None:
        """Raise `Unavailable` if there is no connection now.

        For requests that are repeated: nats-py would keep each repetition, and send them all once it is connected.
        """
        if not self._client.is_connected:
            raise Unavailable("no connection")

    async def _ask(self, request: Callable[[], Awaitable[T]], *, within_s: float = REQUEST_WITHIN_S) -> T:
        """Return the answer to a request; a refusal of the broker stays nats-py's `APIError`.

        Calls `request` again as `_ask_bounded` does. Raises `Unavailable` once `within_s` have passed or the process is
        told to stop.
        """

        async def bounded(left_s: float) -> T:
            async with asyncio.timeout(left_s):
                return await request()

        return await self._ask_bounded(bounded, within_s=within_s)

    async def _ask_bounded(self, request: Callable[[float], Awaitable[T]], *, within_s: float = REQUEST_WITHIN_S) -> T:
        """Return the answer to a request, which is told within how many seconds it has to answer.

        Without an answer within `REQUEST_TIMEOUT_S`, or without a leader, calls `request` again: the broker may get it
        twice. Raises as `_ask` does, and `Denied` at once.
        """
        deadline = _now() + within_s
        while True:
            try:
                self._check_connected()
                return await request(max(RETRY_PAUSE_S, min(REQUEST_TIMEOUT_S, deadline - _now())))
            except nats.js.errors.ServiceUnavailableError as error:
                problem: Exception = error
            except (nats.js.errors.APIError, Denied):
                raise
            except (nats.errors.Error, TimeoutError, OSError, Unavailable) as error:
                problem = error
            if self._stop.is_set() or _now() + RETRY_PAUSE_S >= deadline:
                raise Unavailable(repr(problem)) from problem
            self._client.counts.request_retries += 1
            await asyncio.sleep(RETRY_PAUSE_S)


def _now() -> float:
    return asyncio.get_running_loop().time()
