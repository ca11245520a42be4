"""Errors of the broker as WanJet's code meets them, and their meaning in JetStream's error codes.

`Unavailable` leaves open whether a message was stored; `Refused` and its kinds say that none was.
"""

import re

from nats.js.errors import APIError

LIMIT_REACHED = 10077
NO_SUCH_MESSAGE = (10037, 10043, 10057)
"""JetStream's codes for a message that is gone, never was or cannot be read."""

_WRONG_SEQUENCE = 10071
_TOO_LARGE = 10054
_WRONG_SEQUENCE_WORDS = re.compile(r"wrong last sequence: ([0-9]{1,19})")


class Unavailable(Exception):
    """The broker did not answer in time, or has no room on disk. A published message may have been stored."""


class Denied(Unavailable):
    """The broker's user lacks the right to ask this, and will until an operator grants it."""


class NoTls(ConnectionError):
    """The server does not ask for TLS, and this process may speak nothing else to it."""


class Refused(Exception):
    """The broker stored nothing, and gave the reason."""


class StreamFull(Refused):
    """The stream holds as many messages as it may."""


class SubjectFull(Refused):
    """The stream holds a message of this very subject already."""


class TooLarge(Refused):
    """The message is larger than the stream, or the server, takes."""


class WrongSequence(Refused):
    """Optimistic concurrency: the expected last message is not the last one, or the message may be there already.

    `last` is the sequence that the broker named, None if it named none.
    """

    def __init__(self, words: str, last: int | None = None) -> None:
        super().__init__(words)
        self.last = last


def refusal(error: APIError) -> Refused | None:
    """Return the refusal of a publish that JetStream's error means; None if another try may succeed."""
    words = error.description or ""
    if error.err_code == _WRONG_SEQUENCE:
        named = _WRONG_SEQUENCE_WORDS.search(words)
        return WrongSequence(words, None if named is None else int(named[1]))
    if error.err_code == _TOO_LARGE:
        return TooLarge(words)
    if error.err_code != LIMIT_REACHED:
        return None
    return SubjectFull(words) if "per subject" in words else StreamFull()
