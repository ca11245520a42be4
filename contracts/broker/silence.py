"""A failure detector: how long questions to the broker have gone without an answer. `client` asks it."""

import time


class Silence:
    """The time since the first question after the last answer; 0 while no question is open.

    One instance for each kind of question that fails by itself. `ever_answered` tells a broker that has gone silent
    from one that has not been reached yet.
    """

    def __init__(self) -> None:
        self.ever_answered = False
        self._since: float | None = None

    def asked(self) -> None:
        """Note a question: the clock starts unless it runs already."""
        if self._since is None:
            self._since = time.monotonic()

    def answered(self) -> None:
        """Note an answer: the clock stops."""
        self.ever_answered = True
        self._since = None

    def begin_anew(self) -> None:
        """Forget the open questions: the server that was asked is not the one that has to answer now."""
        self._since = None

    @property
    def lasts_s(self) -> float:
        """Return for how many seconds the silence has lasted."""
        return 0.0 if self._since is None else time.monotonic() - self._since
