"""Find the address of a client behind trusted proxies (`TRUSTED_PROXIES`), for logs and limits.

`app` wraps all else in it. Headers count only if the connection itself comes from a trusted proxy; then the client is
the right-most address that no trusted proxy has, since what stands left of it may be made up by the client.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from contracts.outbound.url_policy import Network, networks

Headers = Sequence[tuple[bytes, bytes]]

HOPS_MAX = 32
"""How many addresses of a header are looked at, from the right."""
_FOR = re.compile(r'(?:^|;)\s*for="?([^";]*)"?\s*(?:;|$)', re.IGNORECASE)
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def with_client_addresses(trusted: Sequence[str], inner: ASGIApp) -> ASGIApp:
    """Return the app with the client's own address in the scope; without trusted networks the app itself."""
    if not trusted:
        return inner
    client_of = client_named_by(trusted)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (peer := scope["client"]) is not None:
            address = client_of(peer[0], cast("list[tuple[bytes, bytes]]", scope["headers"]))
            if address != peer[0]:
                cast("dict[str, Any]", scope)["client"] = (address, 0)
        await inner(scope, receive, send)

    return outer


def client_named_by(trusted: Sequence[str]) -> Callable[[str, Headers], str]:
    """Return the function by which these proxies tell a client's address: `client_address` of peer and headers."""
    return partial(client_address, trusted=networks(tuple(trusted)))


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """Return the client's address: the peer's, or, if that is a trusted proxy, the one that the proxies name.

    `X-Forwarded-For` and `Forwarded` (RFC 7239) are read. If both are there and disagree, a proxy has passed one of
    them on as the client made it up: then neither counts.
    """
    if not _is_trusted(peer, trusted):
        return peer
    named = [
        _first_untrusted(peer, hops, trusted)
        for hops in (_hops(headers, b"x-forwarded-for", _plain), _hops(headers, b"forwarded", _of_forwarded))
        if hops
    ]
    return named[0] if named and len(set(named)) == 1 else peer


def _first_untrusted(peer: str, hops: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the right-most hop that is no trusted proxy; the last good one before a hop that is no address."""
    nearest = peer
    for hop in reversed(hops[-HOPS_MAX:]):
        if not _is_address(hop):
            return nearest
        nearest = hop
        if not _is_trusted(hop, trusted):
            return hop
    return nearest


def _hops(headers: Headers, name: bytes, read: Any) -> list[str]:
    """Return the hops in all headers of a name, from the client's side to ours."""
    parts = [part for each, value in headers if each == name for part in value.decode("latin-1").split(",")]
    return [_without_port(read(part)) for part in parts]


def _plain(part: str) -> str:
    return part.strip()


def _of_forwarded(part: str) -> str:
    """Return the `for` of an element of `Forwarded`; empty if it has none."""
    match = _FOR.search(part)
    return "" if match is None else match[1].strip()


def _without_port(text: str) -> str:
    """Return an address without a port and without brackets."""
    match = _WITH_PORT.fullmatch(text)
    return text if match is None else match[1] or match[2]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    """Return whether an address lies in a trusted network; an IPv4 address in IPv6 form counts as itself."""
    if not _is_address(text):
        return False
    address = ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in trusted)
