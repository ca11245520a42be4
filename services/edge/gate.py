"""What may be connected to: forms of URLs, ports and addresses (SSRF, server-side request forgery). Pure.

Whoever submits a job chooses the URL, and the edge stands inside our network. So every address is checked when it is
connected to, not when it is looked up (DNS rebinding), and every hop of a redirect is checked anew.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult

from services.edge.address import parts_of

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

_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)


_LABEL = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)
NETWORKS_SETTING, PORTS_SETTING = "OUTBOUND_ALLOWED_NETWORKS", "OUTBOUND_ALLOWED_PORTS"


class Forbidden(Exception):
    """An address or a port that is not to be connected to; the text is for our log alone.

    `setting` is the variable by which an operator could allow it, if there is one.
    """

    def __init__(self, text: str, setting: str | None = None) -> None:
        self.setting = setting
        super().__init__(text)


class Gate:
    """What may be connected to."""

    def __init__(self, networks: tuple[Network, ...], ports: frozenset[int]) -> None:
        self._networks, self._ports = networks, PORTS | ports

    def check_url(self, url: str) -> SplitResult:
        """The parts of a URL whose form is beyond doubt. Raises `BadForm` or `Forbidden`."""
        parts = parts_of(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if port not in self._ports:
            raise Forbidden(f"port {port}", PORTS_SETTING)
        self._check_host(parts.hostname or "")
        return parts

    def checked(self, host: str, addresses: list[str]) -> list[str]:
        """Which of a name's addresses may be connected to. Raises `Forbidden` if that is none.

        A single forbidden address spoils a name. Of a name without dots, which the operator's own resolver alone
        knows, the forbidden addresses are left out: `localhost` is ::1 as well.
        """
        if "." in host:
            for address in addresses:
                self.check_address(address)
            return addresses
        allowed = [address for address in addresses if self._is_allowed(address)]
        for address in addresses[: 0 if allowed else 1]:
            self.check_address(address)
        return allowed

    def _is_allowed(self, address: str) -> bool:
        try:
            self.check_address(address)
        except Forbidden:
            return False
        return True

    def _check_host(self, host: str) -> None:
        """A name with dots, or an address as it is properly written: other spellings hide addresses.

        A name without dots is one of the operator's own network, so it is looked up only if a network is allowed.
        """
        if _NAME.fullmatch(host):
            return
        if _LABEL.fullmatch(host):
            if not self._networks:
                raise Forbidden(f"host {host!r}", NETWORKS_SETTING)
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
            raise Forbidden(f"address {address}", NETWORKS_SETTING)


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """An operator's networks. Raises `ValueError` for what is none."""
    return tuple(ip_network(text) for text in texts)


def is_address(host: str) -> bool:
    """Whether a host is an address, and not a name that is to be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def customer_of(text: str) -> str:
    """Who has an address, as far as it can be told: of IPv6 one customer has a /64."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), 64), strict=False))
