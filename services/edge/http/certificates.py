"""The edge's certificate and key: loaded at the start, and again when their files change (hot reload). For `server`.

A connection takes the `SSLContext` of the moment at which it is accepted, so that a renewed certificate costs no
connection. A certificate that clients refuse for its dates is served and logged: the clock of the host may be the one
that is wrong, and a renewal then needs no restart.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from contracts.process import lifetime, log
from contracts.process.env import BadSetting
from services.edge.http.validity import DAY_S, Phase, Validity, validity_in

LOOKED_AT_EVERY_S = 2.0
"""How often the files are looked at."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The ciphers of TLS 1.2: forward secrecy and authenticated encryption. Those of TLS 1.3 are OpenSSL's own."""
PROTOCOLS = ["http/1.1"]
"""What ALPN agrees to."""
_NAMED, _REFUSED = "TLS_CERT names a certificate", "clients refuse it"


class _BadPair(Exception):
    """A certificate and a key that cannot serve. The text is a sentence for the operator, and names the variable."""


class _State(NamedTuple):
    """A file as it lies on the disk: another device, inode, size or time of change is another file."""

    device: int
    inode: int
    size: int
    changed_ns: int


class Certificates:
    """A certificate with its key, from two files in PEM. Made at the start, and renewed during a block of `renewed`.

    Raises `BadSetting`, whose sentence names the variable, if the files cannot serve.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._cert, self._key = cert, key
        self._loaded = self._refused = _states(cert, key)
        try:
            self.context, self.validity = _pair(cert, key)
        except _BadPair as error:
            raise BadSetting(str(error)) from error
        self._logged = Phase.GOOD
        self._judge()

    async def watch(self) -> None:
        """Look at the files every `LOOKED_AT_EVERY_S`, and have new connections use what has changed, for ever.

        A pair that cannot serve, as one that is half written, is logged once, and the one before it goes on.
        """
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            await asyncio.to_thread(self._look)
            self._judge()

    def _look(self) -> None:
        """Load the pair again if a file is another one than was loaded. Reads files; for a thread."""
        states = _states(self._cert, self._key)  # as of before the reading, so that no later change is overlooked
        if states == self._loaded:
            return
        try:
            pair = _pair(self._cert, self._key)
        except _BadPair as error:
            if states != self._refused:
                log.get().warning("certificate_not_renewed", error=str(error))
            self._refused = states
            return
        self._loaded = self._refused = states
        self.context, self.validity = pair
        self._logged = Phase.GOOD
        log.get().info("certificate_renewed", ends=_shown(self.validity.ends))

    def _judge(self) -> None:
        """Log the phase of the certificate unless it is a good one: once, and once more after each reading."""
        now = time.time()
        if (phase := self.validity.phase(now)) is self._logged:
            return
        self._logged, ends = phase, self.validity.ends
        match phase:
            case Phase.SOON:
                log.get().warning("certificate_ends_soon", ends=_shown(ends), days_left=round((ends - now) / DAY_S, 1))
            case Phase.OVER:
                log.get().error("certificate_not_valid", error=f"{_NAMED} that ended at {_shown(ends)}; {_REFUSED}")
            case Phase.EARLY:
                begins = f"{_NAMED} that begins at {_shown(self.validity.begins)}"
                log.get().error("certificate_not_valid", error=f"{begins}, by the clock of this host; {_REFUSED}")
            case Phase.GOOD:
                pass


def certificates(cert: str | None, key: str | None) -> Certificates | None:
    """Return the pair that `TLS_CERT` and `TLS_KEY` name, or None if neither is set. Raises `BadSetting`."""
    return None if cert is None or key is None else Certificates(cert, key)


@asynccontextmanager
async def renewed(pair: Certificates | None) -> AsyncGenerator[None, None]:
    """Watch the files of the pair, if there is one, during the block."""
    if pair is None:
        yield
        return
    async with lifetime.beside(lambda _: pair.watch()):
        yield


def _states(*paths: str) -> tuple[_State | None, ...]:
    """Return how the files lie on the disk, None for one that cannot be looked at."""
    return tuple(map(_state, paths))


def _state(path: str) -> _State | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _shown(at: float) -> str:
    """Return Unix seconds as people read them."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _pair(cert: str, key: str) -> tuple[ssl.SSLContext, Validity]:
    """Return the context of a pair, and the validity of its certificate. Raises `_BadPair`."""
    context = _context(cert, key)
    try:
        return context, validity_in(Path(cert).read_bytes())
    except (OSError, ValueError) as error:
        raise _BadPair(f"TLS_CERT names a certificate whose dates cannot be read ({error})") from error


def _context(cert: str, key: str) -> ssl.SSLContext:
    """Return a context for servers, from TLS 1.2 on, without renegotiation. Raises `_BadPair`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # which would let a client order handshakes without end
    context.set_alpn_protocols(PROTOCOLS)
    for variable, path in (("TLS_CERT", cert), ("TLS_KEY", key)):
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise _BadPair(f"{variable} names a file that cannot be read ({error.strerror})") from error
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _BadPair(_fault(cert, error)) from error
    return context


def _no_passphrase() -> str:
    """Return no passphrase; OpenSSL would ask for one on the terminal."""
    raise ValueError("TLS_KEY names a key that is encrypted; take one without a passphrase")


def _fault(cert: str, error: Exception) -> str:
    """Return why OpenSSL does not take the pair."""
    if not isinstance(error, ssl.SSLError):
        return str(error) if isinstance(error, ValueError) else f"TLS_CERT or TLS_KEY cannot be read ({error})"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "TLS_KEY names another key than that of the first certificate in TLS_CERT"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except (OSError, ValueError):
        return "TLS_CERT names a file without a whole certificate in PEM"
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
        return f"TLS_CERT names a certificate that OpenSSL finds too weak ({error.reason})"
    return "TLS_KEY names a file without a whole private key in PEM"
