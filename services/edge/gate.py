"""What may be connected to: forms of URLs, ports and addresses (SSRF). Pure.

Whoever submits a job chooses the URL, and the edge stands inside our network. So every address is checked when it is
connected to, not when it is looked up (DNS rebinding), and every hop of a redirect is checked anew.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

URL_CHARS_MAX = 2048
PORTS = frozenset({80, 443})

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

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


class Forbidden(Exception):
    """An address, port or form of URL that is not to be fetched; the text is for our log alone."""


def is_name(host: str) -> bool:
    """Whether this is a name with dots, which is to be looked up."""
    return _NAME.fullmatch(host) is not None


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
        if is_name(host):
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


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """An operator's networks. Raises `ValueError` for what is none."""
    return tuple(ip_network(text) for text in texts)


def customer_of(text: str) -> str:
    """Who has an address, as far as it can be told: of IPv6 one customer has a /64."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), 64), strict=False))
