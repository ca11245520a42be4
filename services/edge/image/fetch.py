"""Fetch an image from a URL that a stranger chose, guarded against SSRF (server-side request forgery).

`submit` calls `ImageFetcher.fetch` with a URL and a spool, and gets the body in the spool or an `ImageRefused`. The
edge connects to no other host outside. `url_policy` decides which ports and addresses are allowed; each address is
checked at every hop of a redirect and again when a socket is made for it (DNS rebinding). A client gets one and the
same refusal for an address that is forbidden, unreachable or slow, so that it learns nothing of our network.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import aiohttp

from contracts.outbound.about import user_agent
from contracts.outbound.address import URL_CHARS_MAX, BadForm, Parts, parts_of
from contracts.outbound.guarded_client import GuardedClient, Lookup, raise_if_ours
from contracts.outbound.turns import Turns
from contracts.outbound.url_policy import Forbidden, Network, UrlPolicy, owner_key
from contracts.process import log
from services.edge.errors import ImageRefused
from services.edge.image.answer import REDIRECTS, add_body, target_of
from services.edge.resources.spool import Spool

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
"""The largest header of an answer: a redirect may name a URL as long as the longest that may be submitted."""

UNREACHABLE = "the address cannot be fetched: it is wrong, not public, not reachable from here, or too slow"

MUST_BEGIN = "it must begin with https://, http:// or data:image/...;base64,"

BeforeRequest = Callable[[], Awaitable[None]]


class ImageFetcher:
    """Fetches images. One for the process; it can fetch for as long as its block lasts.

    At most `FETCHES_MAX` fetches run at once, `HOST_SHARE` of them from one server (by its name and by its address), so
    that a silent server delays no image of another one. Tests pass a `lookup` in place of the system's resolver.
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
        self._client = GuardedClient(
            UrlPolicy(allowed_networks, allowed_ports),
            headers={**HEADERS, "User-Agent": user_agent(contact)},
            connections_max=FETCHES_MAX,
            connect_s=CONNECT_WITHIN_S,
            silence_s=SILENCE_S_MAX,
            header_bytes_max=HEADER_BYTES_MAX,
            lookup=lookup,
        )
        self._within_s = within_s
        self._turns = Turns(most=FETCHES_MAX, share=HOST_SHARE, waiting_max=HOST_WAITING_MAX, within_s=TURN_WITHIN_S)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def fetch(self, url: str, picture: Spool, before_work: BeforeRequest | None = None) -> None:
        """Add the body behind a URL to the picture, at most 20 MB.

        `before_work` is awaited once, when the fetch has its turn and before the first request goes out.

        Raises `ImageRefused` or `Overloaded`, and what `before_work` raises. The refusal names a fault in the form
        of the URL itself; a faulty target of a redirect, which another server chose, counts as unreachable.
        """
        try:
            parts_of(url, MUST_BEGIN)
        except BadForm as error:
            raise ImageRefused(str(error)) from error
        left_s = self._within_s
        for _ in range(REDIRECTS_MAX + 1):
            with _refusing_alike(url):
                parts = self._client.policy.check_url(url)
                addresses = await self._client.addresses(parts.hostname)
            async with self._turns.turn(*{parts.hostname.removesuffix("."), owner_key(addresses[0])}):
                if before_work is not None:
                    await before_work()
                    before_work = None
                began = time.monotonic()
                with _refusing_alike(url):
                    async with asyncio.timeout(left_s):  # waiting for others does not count
                        target = await self._hop(parts, addresses, picture)
                left_s -= time.monotonic() - began
            if target is None:
                return
            url = target
        raise ImageRefused(f"it redirects more than {REDIRECTS_MAX} times")

    async def _hop(self, parts: Parts, addresses: list[str], picture: Spool) -> str | None:
        """Add the body behind a URL to the picture and return None, or return the URL that it redirects to, unchecked.

        Connects to `addresses` alone. Raises what `add_body` and `target_of` raise, and `Forbidden` for a redirect from
        https to less.
        """
        async with self._client.request("GET", parts, addresses) as answer:
            if answer.status not in REDIRECTS:
                await add_body(answer, picture)
                return None
            target = target_of(parts, answer)
            if parts.scheme == "https" and not target.lower().startswith("https:"):
                raise Forbidden("from https to something less")
            return target


@contextmanager
def _refusing_alike(url: str) -> Generator[None, None, None]:
    """Turn every failure of a fetch into the same `ImageRefused`, whether it was forbidden, unreachable or slow.

    The log says which it was, for the URL without its query, and names the setting that would allow a forbidden
    address. A lack of our own, such as descriptors, becomes `Overloaded`.
    """
    try:
        yield
    except (Forbidden, aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        # Only our own errors are logged in words: a library's may hold the whole URL.
        why = str(error) if isinstance(error, Forbidden | BadForm) else type(error).__name__
        setting = {"allowed_by": error.setting} if isinstance(error, Forbidden) and error.setting else {}
        log.get().info("image_not_fetched", url=log.without_query(url), error=why, **setting)
        raise_if_ours(error)
        raise ImageRefused(UNREACHABLE) from error
