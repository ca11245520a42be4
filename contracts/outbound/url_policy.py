"""The guard against SSRF (server-side request forgery): which ports, names and addresses may be connected to. Pure.

Whoever submits a job chooses its URLs, and our processes stand inside our network. `guarded_client` has every address
checked again at the moment of connecting, so that no second look-up can change it (DNS rebinding).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from contracts.outbound.address import Parts, parts_of
from contracts.process.addresses import is_ip

PORTS = frozenset({80, 443})

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# The special-purpose registries of IANA, and the host services of clouds, whose addresses look public.
_FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
# Of IPv6 only global unicast, less tunnels, relays and documentation within it.
_GLOBAL_V6 = IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)  # fmt: skip

# Private networks: a name of the operator's own may have such an address beside an allowed one.
_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)

NETWORKS_SETTING, PORTS_SETTING = "OUTBOUND_ALLOWED_NETWORKS", "OUTBOUND_ALLOWED_PORTS"


class Forbidden(Exception):
    """Refusal to connect to an address or a port. The text is for the log alone.

    `setting` is the environment variable by which an operator could allow it, if there is one.
    """

    def __init__(self, text: str, setting: str | None = None) -> None:
        self.setting = setting
        super().__init__(text)


class UrlPolicy:
    """The rules of one process: the public internet, and what its operator allows beside it."""

    def __init__(self, networks: tuple[Network, ...], ports: frozenset[int]) -> None:
        self._networks, self._ports = networks, PORTS | ports

    def check_url(self, url: str) -> Parts:
        """Return the parts of a URL whose port and host are allowed. Raises `BadForm` or `Forbidden`.

        A name without dots belongs to the operator's own network, and is allowed only if some network is.
        """
        parts = parts_of(url)
        if parts.port not in self._ports:
            raise Forbidden(f"port {parts.port}", PORTS_SETTING)
        if is_ip(parts.hostname):
            self.check_address(parts.hostname)
        elif _is_single_label(parts.hostname) and not self._networks:
            raise Forbidden(f"host {parts.hostname!r}", NETWORKS_SETTING)
        return parts

    def checked(self, host: str, addresses: list[str]) -> list[str]:
        """Return the allowed ones of a name's addresses. Raises `Forbidden` if a forbidden one spoils the name.

        One forbidden address spoils a name with dots, as names that are set up for DNS rebinding have it. Two kinds of
        names only lose their forbidden addresses. A name without dots is known to the operator's own resolver alone:
        `localhost` is ::1 as well. A name with an address in an allowed network loses private addresses beside it:
        `host.docker.internal` has one of IPv6 as well.
        """
        allowed = [address for address in addresses if self._is_allowed(address)]
        is_own = any(_is_in(address, self._networks) for address in addresses)
        for address in addresses:
            is_left_out = allowed and (_is_single_label(host) or (is_own and _is_in(address, _PRIVATE)))
            if not is_left_out:
                self.check_address(address)
        return allowed

    def _is_allowed(self, address: str) -> bool:
        try:
            self.check_address(address)
        except Forbidden:
            return False
        return True

    def check_address(self, text: str) -> None:
        """Raise `Forbidden` for an address outside the public internet and the networks that the operator allows."""
        if _is_in(text, self._networks):
            return
        address = _address(text)
        if isinstance(address, IPv4Address):
            public = not any(address in network for network in _FORBIDDEN_V4)
        else:
            public = address in _GLOBAL_V6 and not any(address in network for network in _FORBIDDEN_V6)
        if not public:
            raise Forbidden(f"address {address}", NETWORKS_SETTING)


def _address(text: str) -> Address:
    """Return an address; of an IPv4 address mapped into IPv6 the IPv4 address."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _is_in(text: str, networks: tuple[Network, ...]) -> bool:
    address = _address(text)
    return any(address in network for network in networks)


def _is_single_label(host: str) -> bool:
    """Return whether a name has no dot, except one at its end, which makes it absolute."""
    return "." not in host.removesuffix(".")


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks in an operator's texts. Raises `ValueError` for a text that is not a network."""
    return tuple(ip_network(text) for text in texts)


def owner_key(text: str) -> str:
    """Return a text to count by, for the likely owner of an IP address. Raises `ValueError` for any other text.

    An IPv4 address, also one mapped into IPv6, counts by itself; another IPv6 address by its /64, which one owner has.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), 64), strict=False))
