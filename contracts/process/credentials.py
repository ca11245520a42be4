"""Read a file of NATS credentials: an nkey seed, or a user's JWT with its seed. For settings and for `broker.secure`.

Reads the two forms that `nsc` and `nk` write, and checks them as far as possible without a broker. No error shows a
character of a key.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

BYTES_MAX = 64 * 1024
SEED_CHARS = 58
SEED_SUFFIXES = (".nk", ".seed")

_SEED = re.compile(rb"S[A-Z2-7]{%d}" % (SEED_CHARS - 1))
_USER_SEED = b"SU"
_CHECKSUM_BYTES = 2
_JWT = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_JWT_BLOCK, _SEED_BLOCK = b"NATS USER JWT", b"USER NKEY SEED"


class NoCredentials(ValueError):
    """The file holds no credentials; the text says why."""


class Credentials(Struct, frozen=True):
    """A user's seed, and the JWT that belongs to it; None for a user whom the broker knows by an nkey."""

    seed: bytes
    jwt: bytes | None = None


def fault(path: str) -> str | None:
    """Return why a file holds no credentials, in words that show no key; None if it does."""
    try:
        read(path)
    except NoCredentials as error:
        return str(error)
    return None


def as_arguments(creds: str | None) -> dict[str, Any]:
    """Return nats-py's arguments for a file of credentials: a seed by the name's ending, or a JWT with its seed."""
    if creds is None:
        return {}
    return {"nkeys_seed": creds} if creds.endswith(SEED_SUFFIXES) else {"user_credentials": creds}


def read(path: str) -> Credentials:
    """Return the credentials in a file: a seed if its name ends in .nk or .seed, or a JWT and a seed in blocks.

    Raises `NoCredentials`.
    """
    try:
        if not Path(path).is_file():  # a pipe could be read only once, and the client reads at every connection
            raise NoCredentials("there is no such file" if not Path(path).exists() else "it is no regular file")
        with Path(path).open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise NoCredentials(f"it cannot be read ({error.strerror})") from error
    if len(content) > BYTES_MAX:
        raise NoCredentials(f"it is larger than {BYTES_MAX // 1024} KiB")
    if path.endswith(SEED_SUFFIXES):
        return Credentials(_checked_seed(content.strip()))
    jwt = _block(content, _JWT_BLOCK)
    if not _JWT.fullmatch(jwt):
        raise NoCredentials("its JWT is none: it should have three parts, parted by dots")
    return Credentials(_checked_seed(_block(content, _SEED_BLOCK)), jwt)


def _block(content: bytes, name: bytes) -> bytes:
    """Return the joined lines of a block between BEGIN and END. Raises `NoCredentials` if there is no whole one."""
    lines = [line.strip() for line in content.splitlines()]
    begin = next((number for number, line in enumerate(lines) if _is_line(line, b"BEGIN " + name)), None)
    if begin is None:
        raise NoCredentials(f"it has no block BEGIN {name.decode()}")
    inside: list[bytes] = []
    for line in lines[begin + 1 :]:
        if line.startswith(b"---"):
            return b"".join(inside)
        inside.append(line)
    raise NoCredentials(f"its block BEGIN {name.decode()} has no end")


def _is_line(line: bytes, text: bytes) -> bool:
    """Return whether a line is this text between dashes."""
    return line.startswith(b"---") and line.strip(b"- ") == text


def _checked_seed(text: bytes) -> bytes:
    """Return the text unchanged if it is a user's seed with a good checksum. Raises `NoCredentials` if it is none."""
    if not text:
        raise NoCredentials("it has no seed")
    if not _SEED.fullmatch(text):
        raise NoCredentials(f"its seed is none: it should have {SEED_CHARS} characters, the first of them SU")
    if not text.startswith(_USER_SEED):
        raise NoCredentials("its seed is not a user's: it should begin with SU")
    try:
        raw = base64.b32decode(text + b"=" * (-len(text) % 8))
    except binascii.Error as error:
        raise NoCredentials("its seed is none: it does not decode") from error
    if binascii.crc_hqx(raw[:-_CHECKSUM_BYTES], 0).to_bytes(_CHECKSUM_BYTES, "little") != raw[-_CHECKSUM_BYTES:]:
        raise NoCredentials("its seed is damaged: the checksum is another")
    return text
