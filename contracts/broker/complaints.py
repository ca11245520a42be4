"""The errors of the broker's client in an outage: which are new enough to log, and what they say of credentials.

`client` notes every error here; health and provisioning show `refusal` and `denied`.
"""

import re
import time

from msgspec import Struct

LOG_AGAIN_S = 60.0
KINDS_MAX = 100

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]{1,200})', re.IGNORECASE)
_CREDENTIALS = re.compile(r"authorization violation|authentication (timeout|expired|revoked)", re.IGNORECASE)


class Denial(Struct, frozen=True):
    """A right that the broker's user does not have: to publish to a subject or to subscribe to it."""

    verb: str
    subject: str


def is_denial(error: Exception) -> bool:
    """Return whether an error says that the broker denied a right to one subject; it serves all others then."""
    return "permissions violation" in str(error).lower()


class Complaints:
    """The complaints of one client, for as long as the client lives. An outage ends when it is connected."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        """Why the broker does not let the client in; None if it does, or if nobody knows."""
        self.denied: Denial | None = None
        self._logged_at: dict[str, float] = {}

    def is_new(self, error: Exception) -> bool:
        """Note an error in `refusal` or `denied`, and return whether to log it: its reason is new in this outage.

        Denials come while the client is connected, and are new again after `LOG_AGAIN_S`. Any error that is neither of
        the network nor about credentials or rights is new each time. Only the first `KINDS_MAX` reasons are ever new.
        """
        text = str(error)
        if _CREDENTIALS.search(text):
            self.refusal = text
        if found := _DENIED.search(text):
            self.denied = Denial("publish" if found[1].lower() == "publish" else "subscribe", found[2])
        elif not (isinstance(error, OSError) or _CREDENTIALS.search(text)):
            return True
        return self._is_new(f"{self.denied}" if found and not self._own_inbox() else type(error).__name__ + _kind(text))

    def end_outage(self) -> None:
        """Forget `refusal` and what was logged, but not `denied`: the client is connected."""
        self._logged_at.clear()
        self.refusal = None

    def _own_inbox(self) -> bool:
        """Return whether the denied subject is an inbox, whose name is drawn anew each time."""
        return self.denied is not None and self.denied.subject.startswith("_INBOX")

    def _is_new(self, kind: str) -> bool:
        """Return whether a kind of error is to be logged now, and note that it is logged."""
        now = time.monotonic()
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and (now - logged_at < LOG_AGAIN_S or not kind.startswith("Denial")):
            return False
        if logged_at is None and len(self._logged_at) >= KINDS_MAX:
            return False
        self._logged_at[kind] = now
        return True


def _kind(text: str) -> str:
    """Return the reason without the name of an inbox, which differs each time."""
    return re.sub(r"_INBOX[^\"' ]*", "_INBOX", text)
