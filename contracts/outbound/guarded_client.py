"""The HTTP client for servers that clients name: it connects to checked addresses alone, and follows no redirect.

The edge fetches pictures with it, and the webhook service posts. A name is looked up once, its addresses are checked by
`url_policy`, and the connection goes to those very addresses (DNS rebinding, SSRF).
"""

import errno
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from contracts.outbound.address import Parts
from contracts.outbound.overloaded import Overloaded
from contracts.outbound.pinned_addresses import ADDRESSES, PinnedResolver
from contracts.outbound.resolver import LOOK_UPS_MAX, Resolver
from contracts.outbound.url_policy import UrlPolicy
from contracts.process.addresses import is_ip

Lookup = Callable[[str], Awaitable[list[str]]]

LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)
"""Errors that are a lack of our own, such as of descriptors, and say nothing against a server."""


class GuardedClient:
    """A client with `connections_max` connections, none kept alive. It can request for as long as its block lasts.

    `headers` go with every request; `connect_s` and `silence_s` bound the waits for a connection and between two
    pieces of an answer; `header_bytes_max` bounds each header of an answer. Tests pass a `lookup` in place of the
    system's resolver.
    """

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        headers: Mapping[str, str],
        connections_max: int,
        connect_s: float,
        silence_s: float,
        header_bytes_max: int,
        look_ups_max: int = LOOK_UPS_MAX,
        lookup: Lookup | None = None,
    ) -> None:
        self.policy = policy
        self._headers, self._connections_max, self._header_bytes_max = headers, connections_max, header_bytes_max
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=silence_s)
        self._look_ups_max, self._lookup = look_ups_max, lookup

    async def __aenter__(self) -> Self:
        self._opened = AsyncExitStack()
        if self._lookup is None:
            resolver = Resolver(look_ups_max=self._look_ups_max)
            self._lookup = (await self._opened.enter_async_context(resolver)).look_up
        connector = aiohttp.TCPConnector(
            resolver=PinnedResolver(),
            socket_factory=self._socket,
            use_dns_cache=False,
            force_close=True,
            limit=self._connections_max,
        )
        self._session = await self._opened.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers=self._headers,
                max_line_size=self._header_bytes_max,
                max_field_size=self._header_bytes_max,
                timeout=self._timeout,
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def addresses(self, host: str) -> list[str]:
        """Return a host's allowed addresses, at least one; `host` is of a URL that `UrlPolicy.check_url` has checked.

        Raises `Forbidden`, `Overloaded`, or `OSError` for none.
        """
        if is_ip(host):
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
        addresses = self.policy.checked(host, found)
        if not addresses:
            raise OSError("no address")
        return addresses

    def request(
        self, method: str, parts: Parts, addresses: list[str], **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Return aiohttp's block of one request, which connects to these addresses alone and follows no redirect.

        `options` go to aiohttp. Its block yields a `ClientResponse`, and raises aiohttp's errors and `Forbidden`.
        """
        ADDRESSES.set(addresses)
        return self._session.request(method, URL(parts.url, encoded=True), allow_redirects=False, **options)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Return the socket for a connection to an address, an entry of `getaddrinfo`. Raises `Forbidden`.

        No later look-up can evade this last check.
        """
        family, kind, protocol, _, where = address
        self.policy.check_address(where[0])
        return socket.socket(family, kind, protocol)


def raise_if_ours(error: BaseException) -> None:
    """Raise `Overloaded` if an error of a request is a lack of our own, such as of descriptors."""
    if getattr(error, "errno", None) in LACKING:
        raise Overloaded from error
