"""Judge whether a text is a host, an address, a port or a network. For settings, and for what clients send. Pure."""

import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

PORT_MAX = 65_535
ACE = "xn--"
"""The beginning of a part of a name that stands for letters outside ASCII."""

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE)


def is_host(text: str) -> bool:
    """Return whether a text is an IP address, or a host name as DNS has it."""
    try:
        ip_address(text)
    except ValueError:
        is_name = _NAME.fullmatch(text) is not None and not re.fullmatch(r"[0-9.]+", text)
        return is_name and all(map(_is_label, text.lower().split(".")))
    return True


def _is_label(label: str) -> bool:
    """Return whether a part of a name, in lower case, is none in Punycode, or one that stands for letters (UTS 46)."""
    if not label.startswith(ACE):
        return True
    import idna  # noqa: PLC0415  # it has large tables, which few starts need

    written = label.removeprefix(ACE)
    try:
        letters = written.encode().decode("punycode")
        is_mapped = idna.uts46_remap(letters, std3_rules=False, transitional=False) == letters
    except ValueError:  # of the codec, and of idna
        return False
    return is_mapped and not letters.isascii() and letters.encode("punycode").decode() == written


def is_address(text: str) -> bool:
    """Return whether a text is `host:port`, with a host as `is_host` has it; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]") and ":" in host
    if not colon or not is_port(port) or (":" in host and not bracketed):
        return False
    return is_host(host[1:-1] if bracketed else host)


def is_port(text: str) -> bool:
    """Return whether a text is the number of a port, from 1 to 65535."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= PORT_MAX


def is_ip(text: str) -> bool:
    """Return whether a text is an IP address, and not a name that must be looked up."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    """Return whether a text is an IP network without bits beyond its prefix."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def has_host(url: str, schemes: tuple[str, ...]) -> bool:
    """Return whether a text is a URL of one of these schemes with a host, and no port of 0."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and is_host(parts.hostname or "") and port != 0
