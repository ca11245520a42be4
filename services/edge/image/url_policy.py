"""What may be connected to: ports, names and addresses (SSRF, server-side request forgery). Pure.

Whoever submits a job chooses the URL, and the edge stands inside our network. So every address is checked when it is
connected to, not when it is looked up (DNS rebinding), and every hop of a redirect is checked anew.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from services.edge.image.address import Parts, parts_of

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

# What a network of one's own has, so that a name of it may have such an address beside one that is allowed.
_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)

NETWORKS_SETTING, PORTS_SETTING = "OUTBOUND_ALLOWED_NETWORKS", "OUTBOUND_ALLOWED_PORTS"


class Forbidden(Exception):
    """An address or a port that is not to be connected to; the text is for our log alone.

    `setting` is the variable by which an operator could allow it, if there is one.
    """

    def __init__(self, text: str, setting: str | None = None) -> None:
        self.setting = setting
        super().__init__(text)


class UrlPolicy:
    """What may be connected to."""

    def __init__(self, networks: tuple[Network, ...], ports: frozenset[int]) -> None:
        self._networks, self._ports = networks, PORTS | ports

    def check_url(self, url: str) -> Parts:
        """Return the parts of a URL whose port and host may be asked for. Raises `BadForm` or `Forbidden`.

        A name without dots is one of the operator's own network, so it is looked up only if a network is allowed.
        """
        parts = parts_of(url)
        if parts.port not in self._ports:
            raise Forbidden(f"port {parts.port}", PORTS_SETTING)
        if is_address(parts.hostname):
            self.check_address(parts.hostname)
        elif _is_single_label(parts.hostname) and not self._networks:
            raise Forbidden(f"host {parts.hostname!r}", NETWORKS_SETTING)
        return parts

    def checked(self, host: str, addresses: list[str]) -> list[str]:
        """Return which of a name's addresses may be connected to. Raises `Forbidden` if that is none.

        A forbidden address among others spoils a name with dots: so it is with names that are set up for DNS rebinding.
        Two kinds of names have their forbidden addresses left out. One is a name without dots, which the operator's
        own resolver alone knows: `localhost` is ::1 as well. The other is a name with an address in an allowed network,
        for the private addresses beside it: `host.docker.internal` has one of IPv6 as well.
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
        """Raises `Forbidden` for an address outside the public internet and the networks that an operator allows."""
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
    """Return an address; for IPv4 within IPv6 the address that is meant."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _is_in(text: str, networks: tuple[Network, ...]) -> bool:
    address = _address(text)
    return any(address in network for network in networks)


def _is_single_label(host: str) -> bool:
    """Return whether a name has no dots, but for the one at its end that makes it absolute."""
    return "." not in host.removesuffix(".")


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
