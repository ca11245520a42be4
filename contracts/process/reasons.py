"""Tell a failure that goes on from a new one. For loops that try again and log a failure once for each reason."""


class Reasons:
    """The reason of the last failure of a loop, as long as it fails. One for the loop."""

    def __init__(self) -> None:
        self._last = ""

    def is_new(self, reason: str) -> bool:
        """Note a failure, and return whether its reason is another one than that of the last, or the first."""
        before, self._last = self._last, reason
        return reason != before

    def over(self) -> None:
        """Note that the loop has succeeded: the next failure is new, whatever its reason."""
        self._last = ""
