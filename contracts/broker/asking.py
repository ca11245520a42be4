"""The requests of a client that wait for an answer: those fail at once for which the broker denies the right."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from contracts.broker.complaints import PUBLISH, Denial


class Asking:
    """The waiting requests of one client, by subject in lower case, as nats-py has it in errors."""

    def __init__(self) -> None:
        self._waits: dict[str, list[asyncio.Timeout]] = {}

    @contextmanager
    def waiting(self, subject: str) -> Generator[asyncio.Timeout, None, None]:
        """Yield a timeout to wait in, which a denial of this subject ends. Raises the denial's error then."""
        waits = self._waits.setdefault(subject.lower(), [])
        wait = asyncio.timeout(None)
        waits.append(wait)
        try:
            yield wait
        except TimeoutError:
            if wait.expired():
                raise Denial(PUBLISH, subject).error from None
            raise
        finally:
            waits.remove(wait)
            if not waits and self._waits.get(subject.lower()) is waits:
                del self._waits[subject.lower()]

    def deny(self, denial: Denial) -> None:
        """End the waits of the requests on a subject to which the user may not publish."""
        if denial.verb == PUBLISH:
            for wait in self._waits.pop(denial.subject.lower(), ()):  # a wait is ended once
                wait.reschedule(asyncio.get_running_loop().time())
