"""The errors of the broker's client in an outage: which to log, and what they say of credentials, TLS and rights.

`client` notes every error here; health and provisioning show `refusal`, `no_tls` and `denied`.
"""

import math
import re
import time

from msgspec import Struct

from contracts.broker.errors import Denied, NoTls
from contracts.broker.spelling import as_written

LOG_AGAIN_S = 60.0
PUBLISH, SUBSCRIBE = "publish", "subscribe"
KINDS_MAX = 100
KIND_TOKENS = 2
"""How many tokens of a denied subject tell its kind: those after it are ids or keys."""

_KIND_TOKENS = {"$JS.API.": 7, "$JS.ACK.": 4, "$SRV.": 3}
"""The same for subjects that begin like this."""
_INBOXES = "_INBOX_"

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]{1,200})', re.IGNORECASE)
_CREDENTIALS = re.compile(r"authorization violation|authentication (timeout|expired|revoked)", re.IGNORECASE)
_CERTIFICATES = re.compile(r"certificate verify failed|ALERT", re.IGNORECASE)
"""In OpenSSL's words: this side does not trust the server's certificate, or the server ends the handshake."""


class Denial(Struct, frozen=True):
    """A right that the broker's user does not have: to publish to a subject or to subscribe to it."""

    verb: str
    subject: str

    @property
    def kind(self) -> str:
        """Return the verb and the beginning of the subject, without what is drawn anew each time: ids, inboxes."""
        if self.subject.startswith(_INBOXES):
            return f"{self.verb} {_INBOXES}"
        tokens = next((count for start, count in _KIND_TOKENS.items() if self.subject.startswith(start)), KIND_TOKENS)
        return f"{self.verb} {'.'.join(self.subject.split('.')[:tokens])}"

    @property
    def error(self) -> Denied:
        """Return the error of a request that this makes impossible."""
        return Denied(f"the broker does not let this user {self.verb} to {self.subject}")

    def is_of(self, subject: str) -> bool:
        """Return whether what was denied is to publish to a subject."""
        return self.verb == PUBLISH and self.subject.lower() == subject.lower()


def is_denial(error: Exception) -> bool:
    """Return whether an error says that the broker denied a right to one subject; it serves all others then."""
    return _DENIED.search(str(error)) is not None


class Complaints:
    """The complaints of one client, for as long as the client lives. An outage ends when it is connected."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        """Why the broker does not let the client in; None if it does, or if nobody knows."""
        self.no_tls: str | None = None
        """Why client and broker agree on no TLS; None if they do, or if nobody knows."""
        self.denied: Denial | None = None
        self._logged_at: dict[str, float] = {}

    def is_new(self, error: Exception) -> bool:
        """Note an error, and return whether to log it: its reason is new in this outage.

        Denials come while the client is connected, and those of one kind are new again after `LOG_AGAIN_S`. Any error
        that is neither of the network nor about credentials or rights is new each time. Only the first `KINDS_MAX`
        reasons are ever new.
        """
        text = str(error)
        if _CREDENTIALS.search(text):
            self.refusal = text
        if isinstance(error, NoTls) or (isinstance(error, OSError) and _CERTIFICATES.search(text)):
            self.no_tls = text
        if found := _DENIED.search(text):
            verb = PUBLISH if found[1].lower() == PUBLISH else SUBSCRIBE
            self.denied = denied = Denial(verb, as_written(found[2]))
            return self._is_new(denied.kind, again_after_s=LOG_AGAIN_S)
        if isinstance(error, OSError) or _CREDENTIALS.search(text):
            return self._is_new(type(error).__name__ + text)
        return True

    @property
    def keep_out(self) -> bool:
        """Return whether the client cannot come in, as far as is known, until something is mended at either end."""
        return self.refusal is not None or self.no_tls is not None

    def end_outage(self) -> None:
        """Forget all that was noted and logged, but not `denied`: the client is connected."""
        self._logged_at.clear()
        self.refusal = self.no_tls = None

    def _is_new(self, kind: str, *, again_after_s: float = math.inf) -> bool:
        """Return whether a kind of error is to be logged now, and note that it is logged."""
        now = time.monotonic()
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and now - logged_at < again_after_s:
            return False
        if logged_at is None and len(self._logged_at) >= KINDS_MAX:
            return False
        self._logged_at[kind] = now
        return True
