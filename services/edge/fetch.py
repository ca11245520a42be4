"""The only place that talks to the outside: an image's URL → its bytes. Knows nothing of what an image is.

Whoever submits a job chooses the URL, and this process stands inside our network. So every address is checked when it
is connected to, not when it is looked up; every hop of a redirect is checked anew; and a client learns the same from
what is forbidden, what cannot be reached and what takes too long.
"""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from contracts import log
from services.edge.decode import IMAGE_BYTES_MAX
from services.edge.errors import ImageRefused
from services.edge.names import Names
from services.edge.spool import Spool
from services.edge.turns import Turns

URL_CHARS_MAX = 2048
REDIRECTS_MAX = 3
FETCH_WITHIN_S = 20.0
CONNECT_WITHIN_S = 5.0
SILENCE_S_MAX = 10.0
CHUNK_BYTES = 64 * 1024
FETCHES_MAX = 64
HOST_SHARE = 4
HOST_WAITING_MAX = 24
TURN_WITHIN_S = 20.0
PORTS = frozenset({80, 443})
HEADERS = {"Accept": "image/png, image/jpeg, image/webp", "Accept-Encoding": "identity", "User-Agent": "WanJet"}
REDIRECTS = frozenset({301, 302, 303, 307, 308})

UNREACHABLE = "the address cannot be fetched"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Lookup = Callable[[str], Awaitable[list[str]]]
Begin = Callable[[], Awaitable[None]]

# Special purposes of the IANA registries, and the host services of clouds, which hide behind public-looking ones.
_FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
# Only what is assigned as global unicast, less what in there is a tunnel, a relay or documentation.
_GLOBAL_V6 = IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)  # fmt: skip

_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
_ADDRESSES: ContextVar[list[str]] = ContextVar("addresses")
"""What the name of the hop at hand was looked up as, and then checked."""


class Forbidden(Exception):
    """An address, port or form of URL that is not to be fetched; the text is for our log alone."""


class Gate:
    """What may be connected to."""

    def __init__(self, networks: tuple[Network, ...], ports: frozenset[int]) -> None:
        self._networks, self._ports = networks, PORTS | ports

    def check_url(self, url: str) -> SplitResult:
        """The parts of a URL whose form is beyond doubt. Raises `Forbidden`."""
        if len(url) > URL_CHARS_MAX or _ODD.search(url) or not _SCHEME.match(url):
            raise Forbidden("not a plain http(s) URL")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Forbidden(str(error)) from error
        if "@" in parts.netloc:
            raise Forbidden("credentials")
        if (port or (443 if parts.scheme == "https" else 80)) not in self._ports:
            raise Forbidden(f"port {port}")
        self._check_host(parts)
        return parts

    def _check_host(self, parts: SplitResult) -> None:
        """A name with dots, or an address as it is properly written: other spellings hide addresses."""
        host = parts.hostname or ""
        if _NAME.fullmatch(host):
            return
        try:
            address = ip_address(host)
        except ValueError as error:
            raise Forbidden(f"host {host[:80]!r}") from error
        if str(address) != host and isinstance(address, IPv4Address):
            raise Forbidden(f"host {host[:80]!r}")
        self.check_address(host)

    def check_address(self, text: str) -> None:
        """Raises `Forbidden` for an address outside the public internet and the networks that an operator allows."""
        address: Address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._networks):
            return
        if isinstance(address, IPv4Address):
            public = not any(address in network for network in _FORBIDDEN_V4)
        else:
            public = address in _GLOBAL_V6 and not any(address in network for network in _FORBIDDEN_V6)
        if not public:
            raise Forbidden(f"address {address}")


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
        lookup: Lookup | None = None,
        within_s: float = FETCH_WITHIN_S,
    ) -> None:
        self._gate = Gate(allowed_networks, allowed_ports)
        self._lookup, self._within_s = lookup, within_s
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
                headers=HEADERS,
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

        Raises `ImageRefused` or `Overloaded`, and what `begin` raises.
        """
        try:
            await self._follow(url, picture, begin)
        except (Forbidden, aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            log.get().info("image_not_fetched", url=log.without_query(url), error=_why(error))
            raise ImageRefused(UNREACHABLE) from error

    async def _follow(self, url: str, picture: Spool, begin: Begin | None) -> None:
        left_s = self._within_s
        for _ in range(REDIRECTS_MAX + 1):
            parts = self._gate.check_url(url)
            host = parts.hostname or ""
            addresses = await self._look_up(host)
            async with self._turns.turn(*{host, _network_of(addresses[0])}):
                if begin is not None:
                    await begin()
                    begin = None
                _ADDRESSES.set(addresses)
                began = time.monotonic()
                async with asyncio.timeout(left_s):  # waiting for others does not count
                    target = await self._hop(url, picture)
                left_s -= time.monotonic() - began
            if target is None:
                return
            if parts.scheme == "https" and not target.lower().startswith("https:"):
                raise Forbidden("from https to something less")
            url = target
        raise ImageRefused(f"it redirects more than {REDIRECTS_MAX} times")

    async def _look_up(self, host: str) -> list[str]:
        """The addresses of a host, at least one. A single forbidden one spoils the name."""
        if not _NAME.fullmatch(host):
            return [host]  # an address, which was checked with the URL
        assert self._lookup is not None  # noqa: S101  # set when the block began
        addresses = await self._lookup(host)
        for address in addresses:
            self._gate.check_address(address)
        if not addresses:
            raise OSError("no address")
        return addresses

    async def _hop(self, url: str, picture: Spool) -> str | None:
        """Add the body behind a URL to the picture; or the URL that it redirects to."""
        async with self._session.get(URL(url, encoded=url.isascii()), allow_redirects=False) as answer:
            if answer.status in REDIRECTS:
                return urljoin(url, answer.headers.get("Location", ""))
            await _add_body(answer, picture)
        return None

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """The socket for a connection, made only for an allowed address: no name can change behind this check."""
        family, kind, protocol, _, where = address
        self._gate.check_address(where[0])
        return socket.socket(family, kind, protocol)


async def _add_body(answer: aiohttp.ClientResponse, picture: Spool) -> None:
    if answer.status != 200:
        raise ImageRefused(f"its server answered {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ImageRefused("its server sent it compressed")
    too_large = ImageRefused(f"it is larger than {IMAGE_BYTES_MAX // 1024**2} MB")
    if (answer.content_length or 0) > IMAGE_BYTES_MAX:
        raise too_large
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        await picture.add(chunk)
        if picture.size_bytes > IMAGE_BYTES_MAX:
            raise too_large


def _network_of(address: str) -> str:
    """Who an address belongs to, as far as it can be told: of IPv6 one customer has a /64."""
    if ":" not in address:
        return address
    return str(ip_network((address, 64), strict=False))


def _why(error: Exception) -> str:
    """For our log: the kind, and our own words where they are ours. A library's words may hold the whole URL."""
    return str(error) if isinstance(error, Forbidden) else type(error).__name__


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """An operator's networks. Raises `ValueError` for what is none."""
    return tuple(ip_network(text) for text in texts)
