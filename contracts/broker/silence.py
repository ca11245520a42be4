"""A failure detector: how long questions to the broker have gone without an answer. Pure, but for the clock."""

import time


class Silence:
    """The time since the first question that was asked after the last answer; 0 while nobody waits for one."""

    def __init__(self) -> None:
        self.ever_answered = False
        self._since: float | None = None

    def asked(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def answered(self) -> None:
        self.ever_answered = True
        self._since = None

    def begin_anew(self) -> None:
        """Forget what was asked: whoever was asked is no longer the one who has to answer."""
        self._since = None

    @property
    def lasts_s(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since
