"""The only place that talks to the outside: an image's URL → its bytes. Knows nothing of what an image is.

What may be fetched is `gate`'s to say. A client learns the same from what is forbidden, what cannot be reached and what
takes too long.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from contracts.process import log
from services.edge.errors import ImageRefused, Overloaded
from services.edge.image.about import user_agent
from services.edge.image.address import URL_CHARS_MAX, BadForm, Parts, parts_of
from services.edge.image.answer import REDIRECTS, add_body, target_of
from services.edge.image.resolver import Names
from services.edge.image.url_policy import Forbidden, Gate, Network, customer_of, is_address
from services.edge.resources.spool import Spool
from services.edge.resources.turns import Turns

REDIRECTS_MAX = 10
FETCH_WITHIN_S = 20.0
CONNECT_WITHIN_S = 5.0
SILENCE_S_MAX = 10.0
FETCHES_MAX = 64
HOST_SHARE = 4
HOST_WAITING_MAX = 24
TURN_WITHIN_S = 20.0
HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp, image/avif, image/*;q=0.8, */*;q=0.5",
    "Accept-Encoding": "identity",
}
HEADER_BYTES_MAX = 2 * URL_CHARS_MAX
"""Of one header of an answer: a redirect names an address as long as one that may be asked for."""

UNREACHABLE = "the address cannot be fetched: it is wrong, not public, not reachable from here, or too slow"

Lookup = Callable[[str], Awaitable[list[str]]]
Begin = Callable[[], Awaitable[None]]

_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)
_ADDRESSES: ContextVar[list[str]] = ContextVar("addresses")
"""What the name of the hop at hand was looked up as, and then checked."""


class _LookedUp(AbstractResolver):
    """Hands the connector the addresses of the hop at hand, so that there is one look-up a hop."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # both, always
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in _ADDRESSES.get()
        ]

    async def close(self) -> None:
        return


class Outbound:
    """Fetches images for as long as its block lasts. `lookup` stands in for the system's resolver in tests.

    A server has a share of the turns, by its name and by its address: silent ones hold up nobody else's pictures.
    """

    def __init__(
        self,
        *,
        allowed_networks: tuple[Network, ...] = (),
        allowed_ports: frozenset[int] = frozenset(),
        contact: str | None = None,
        lookup: Lookup | None = None,
        within_s: float = FETCH_WITHIN_S,
    ) -> None:
        self._gate = Gate(allowed_networks, allowed_ports)
        self._lookup, self._within_s = lookup, within_s
        self._headers = {**HEADERS, "User-Agent": user_agent(contact)}
        self._turns = Turns(most=FETCHES_MAX, share=HOST_SHARE, waiting_max=HOST_WAITING_MAX, within_s=TURN_WITHIN_S)

    async def __aenter__(self) -> Self:
        self._opened = AsyncExitStack()
        if self._lookup is None:
            self._lookup = (await self._opened.enter_async_context(Names())).look_up
        connector = aiohttp.TCPConnector(
            resolver=_LookedUp(),
            socket_factory=self._socket,
            use_dns_cache=False,
            force_close=True,
            limit=FETCHES_MAX,
        )
        self._session = await self._opened.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers=self._headers,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_WITHIN_S, sock_read=SILENCE_S_MAX),
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def fetch(self, url: str, picture: Spool, begin: Begin | None = None) -> None:
        """Add the body behind a URL to the picture, at most 20 MB. `begin` is awaited once the first turn is there.

        Raises `ImageRefused` or `Overloaded`, and what `begin` raises. A fault in the form of the URL itself is named;
        where a redirect points is another server's choice, and its faults are those of the network.
        """
        try:
            parts_of(url)
        except BadForm as error:
            raise ImageRefused(str(error)) from error
        left_s = self._within_s
        for _ in range(REDIRECTS_MAX + 1):
            with _told_apart_by_nobody(url):
                parts = self._gate.check_url(url)
                addresses = await self._look_up(parts.hostname)
            async with self._turns.turn(*{parts.hostname.removesuffix("."), customer_of(addresses[0])}):
                if begin is not None:
                    await begin()
                    begin = None
                _ADDRESSES.set(addresses)
                began = time.monotonic()
                with _told_apart_by_nobody(url):
                    async with asyncio.timeout(left_s):  # waiting for others does not count
                        target = await self._hop(parts, picture)
                left_s -= time.monotonic() - began
            if target is None:
                return
            url = target
        raise ImageRefused(f"it redirects more than {REDIRECTS_MAX} times")

    async def _look_up(self, host: str) -> list[str]:
        """The addresses of a host that may be connected to, at least one."""
        if is_address(host):
            return [host]  # which was checked with the URL
        assert self._lookup is not None  # noqa: S101  # set when the block began
        try:
            found = await self._lookup(host)
        except TimeoutError:
            raise
        except OSError:
            if not host.endswith("."):
                raise
            found = await self._lookup(host[:-1])  # /etc/hosts and container networks know no absolute names
        addresses = self._gate.checked(host, found)
        if not addresses:
            raise OSError("no address")
        return addresses

    async def _hop(self, parts: Parts, picture: Spool) -> str | None:
        """Add the body behind a URL to the picture; or return the URL that it redirects to."""
        async with self._session.get(URL(parts.url, encoded=True), allow_redirects=False) as answer:
            if answer.status not in REDIRECTS:
                await add_body(answer, picture)
                return None
            target = target_of(parts, answer)
            if parts.scheme == "https" and not target.lower().startswith("https:"):
                raise Forbidden("from https to something less")
            return target

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """The socket for a connection, made only for an allowed address: no name can change behind this check."""
        family, kind, protocol, _, where = address
        self._gate.check_address(where[0])
        return socket.socket(family, kind, protocol)


@contextmanager
def _told_apart_by_nobody(url: str) -> Generator[None, None, None]:
    """One refusal for what is forbidden, cannot be reached or takes too long; our log knows which it was.

    The log also names the setting that would allow it.

    What we lack ourselves, such as descriptors, is `Overloaded`.
    """
    try:
        yield
    except (Forbidden, aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        # Our own words where they are ours: a library's may hold the whole URL.
        why = str(error) if isinstance(error, Forbidden | BadForm) else type(error).__name__
        setting = {"allowed_by": error.setting} if isinstance(error, Forbidden) and error.setting else {}
        log.get().info("image_not_fetched", url=log.without_query(url), error=why, **setting)
        if getattr(error, "errno", None) in _LACKING:
            raise Overloaded from error
        raise ImageRefused(UNREACHABLE) from error
