"""Read from a certificate when it begins and ends, and say in which phase of that it is. Pure. For `certificates`.

Python's `ssl` tells these dates only of a peer's certificate that it has verified. So they are read from the DER of the
file here (RFC 5280, 4.1: the fourth of the fields after the version).
"""

import base64
import re
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

LEFT_DAYS_MIN = 14
"""A certificate with fewer days left ends soon: those who renew certificates of 45 or 90 days have done so by then."""
DAY_S = 24 * 3600.0

_BLOCK = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([^-]*)-----END")
_VERSION, _UTC_TIME = 0xA0, 0x17
_CENTURY_STARTS = b"50"
"""A year of two digits is one of the 20th century from here on (RFC 5280, 4.1.2.5.1)."""


class Phase(Enum):
    """Phase of a certificate at some time."""

    EARLY = "not valid yet"
    GOOD = "good"
    SOON = "ends soon"
    OVER = "ended"


class Validity(NamedTuple):
    """The time in which a certificate is valid, in Unix seconds."""

    begins: float
    ends: float

    def phase(self, now: float) -> Phase:
        """Return the phase at a time in Unix seconds."""
        if now < self.begins:
            return Phase.EARLY
        if now > self.ends:
            return Phase.OVER
        return Phase.SOON if self.ends - now < LEFT_DAYS_MIN * DAY_S else Phase.GOOD


def validity_in(pem: bytes) -> Validity:
    """Return the validity of the first certificate in a file in PEM, which is the one that a server shows.

    Raises `ValueError` if it cannot be read.
    """
    if (block := _BLOCK.search(pem)) is None:
        raise ValueError("there is no certificate")
    _, certificate, _ = _value(base64.b64decode(block[1]))
    _, fields, _ = _value(certificate)
    tag, _, after_version = _value(fields)
    rest = after_version if tag == _VERSION else fields
    for _ in ("serial number", "signature", "issuer"):
        _, _, rest = _value(rest)
    _, validity, _ = _value(rest)
    begins_tag, begins, rest = _value(validity)
    ends_tag, ends, _ = _value(rest)
    return Validity(_time(begins_tag, begins), _time(ends_tag, ends))


def _value(der: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first value in DER, and the bytes after it. Raises `ValueError` without one."""
    if len(der) < 2:
        raise ValueError("the certificate is cut off")
    tag, length, at = der[0], der[1], 2
    if length & 0x80:  # the length of the length
        at += length & 0x7F
        length = int.from_bytes(der[2:at])
    return tag, der[at : at + length], der[at + length :]


def _time(tag: int, text: bytes) -> float:
    """Return a UTCTime or GeneralizedTime as Unix seconds. Raises `ValueError` for anything else."""
    century = b"" if tag != _UTC_TIME else b"19" if text[:2] >= _CENTURY_STARTS else b"20"
    return datetime.strptime((century + text).decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
