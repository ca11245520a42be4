"""Parse the host of a URL as the URL standard does: IDNA (UTS 46), IPv4 in every spelling, IPv6. Pure.

`address` calls `host_of` for a submitted URL and for the targets of redirects. The result is exactly what is looked up
or connected to, so that the guard against SSRF sees `0x7f.1` and `１２７。0.0.1` as 127.0.0.1.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import unquote_to_bytes

import idna

NAME_CHARS_MAX = 253
LABEL_CHARS_MAX = 63
SHOWN_CHARS_MAX = 40
ACE = "xn--"
"""The beginning of a label in the DNS that stands for letters outside ASCII."""

_NO_HOST_CHARACTER = re.compile(r"[^a-z0-9_-]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_OCTETS = 4


class BadForm(ValueError):
    """The URL is not well formed. The text says why, and is safe to show."""


def host_of(written: str) -> str:
    """Return a host as the DNS or a socket takes it: in ASCII and lower case, an IPv6 address without its brackets.

    A dot at the end, which makes a name absolute, stays. Raises `BadForm`.
    """
    if not written:
        raise BadForm("it names no host")
    if written.startswith("["):
        return _ipv6(written)
    text = unquote_to_bytes(written.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
    if len(text.rstrip(".")) > NAME_CHARS_MAX:
        raise BadForm(_too_long(len(text)))
    labels = _mapped(text).split(".")
    end = "." if len(labels) > 1 and not labels[-1] else ""
    labels = [_ascii(label, text) for label in (labels[:-1] if end else labels)]
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels, text)
    name = ".".join(labels)
    if len(name) > NAME_CHARS_MAX:
        raise BadForm(_too_long(len(name)))
    return name + end


def character(char: str) -> str:
    """Return the name of a character, for a sentence."""
    names = {" ": "a blank", "\\": "a backslash", "\n": "a line break", "\r": "a line break", "\t": "a tab"}
    return names.get(char, char if char.isprintable() else "a control character")


def _mapped(text: str) -> str:
    """Return a name as IDNA maps it: in lower case, half width, composed. Raises `BadForm`."""
    try:
        return idna.uts46_remap(text, std3_rules=False, transitional=False)
    except idna.IDNAError as error:
        raise _no_idna(text) from error


def _ascii(label: str, text: str) -> str:
    """Return a label as it stands in the DNS. Raises `BadForm`, whose sentence shows the whole name, `text`."""
    if not label:
        raise BadForm(f"its host {_shown(text)} has an empty part between its dots")
    if not label.isascii() or label.startswith(ACE):
        label = _ace(label, text)
    elif _NUMBER.fullmatch(label):
        return label  # a number, which may begin with any number of zeros
    if len(label) > LABEL_CHARS_MAX:
        raise BadForm(
            f"its host {_shown(text)} has a part of {len(label)} characters between its dots; "
            f"the DNS has up to {LABEL_CHARS_MAX}"
        )
    if (odd := _NO_HOST_CHARACTER.search(label)) is not None:
        raise BadForm(f"its host {_shown(text)} holds {character(odd[0])}, which no host has")
    return label


def _ace(label: str, text: str) -> str:
    """Return a label in ASCII (Punycode), by the validity criteria of UTS 46 as the URL standard sets them.

    IDNA 2008 would refuse symbols such as ❤, which browsers look up. Raises `BadForm`.
    """
    try:
        plain = label[len(ACE) :].encode().decode("punycode") if label.isascii() else label
        idna.check_nfc(plain)
        idna.check_initial_combiner(plain)
        idna.check_bidi(plain)
        joiners_fit = all(idna.valid_contextj(plain, at) for at, char in enumerate(plain) if char in "\u200c\u200d")
        ace = ACE + plain.encode("punycode").decode()
        is_mapped = not plain.isascii() and idna.uts46_remap(plain, std3_rules=False, transitional=False) == plain
    except (UnicodeError, OverflowError, ValueError) as error:
        raise _no_idna(text) from error
    if not joiners_fit or not is_mapped or (label.startswith(ACE) and ace != label):
        raise _no_idna(text)
    return ace


def _ipv4(labels: list[str], text: str) -> str:
    """Return the address of up to four numbers, in decimal, octal or hexadecimal; the last number fills the rest.

    Raises `BadForm`, whose sentence shows the whole host, `text`.
    """
    fault = BadForm(f"its host {_shown(text)} ends in a number, and is no IPv4 address (four numbers from 0 to 255)")
    try:
        *octets, rest = (_number(label) for label in labels)
    except ValueError as error:
        raise fault from error
    places = _OCTETS - len(octets)
    if places < 1 or rest >= 256**places or any(octet > 255 for octet in octets):
        raise fault
    before = sum(octet << 8 * (_OCTETS - 1 - at) for at, octet in enumerate(octets))
    return str(IPv4Address(before + rest))


def _number(label: str) -> int:
    """Return the number in a label: decimal, octal (0…) or hexadecimal (0x…). Raises `ValueError`."""
    if not _NUMBER.fullmatch(label):
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if len(label) > 1 and label.startswith("0") else 10)


def _ipv6(written: str) -> str:
    """Return the address in brackets. Raises `BadForm`, also for a zone, which has a meaning on one machine only."""
    try:
        return str(IPv6Address("" if "%" in written else written[1:-1]))
    except AddressValueError as error:
        raise BadForm(f"its host {_shown(written)} is no IPv6 address") from error


def _no_idna(text: str) -> BadForm:
    return BadForm(f"its host {_shown(text)} is not a name in IDNA, which names in other letters than ASCII's are")


def _too_long(count: int) -> str:
    return f"its host has {count} characters; the DNS has up to {NAME_CHARS_MAX}"


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
