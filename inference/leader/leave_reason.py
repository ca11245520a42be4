"""Name the reasons for which an attempt is left, and what follows from each. `Lease` and `Attempt` use them. Pure."""

from enum import StrEnum


class LeaveReason(StrEnum):
    """Why an attempt is left before its ranks are done. The values stand in logs."""

    ENDED = "ended"
    TAKEN_OVER = "taken over"
    CUT_OFF = "cut off"
    TIMED_OUT = "timed out"
    TOLD_TO_STOP = "told to stop"

    @property
    def job_lost(self) -> bool:
        """Return whether the job has, or may have, an ending or another cluster at work on it.

        A lost job is not this attempt's any more: nothing about the job may be published.
        """
        return self in (LeaveReason.ENDED, LeaveReason.TAKEN_OVER, LeaveReason.CUT_OFF)

    @property
    def save_first(self) -> bool:
        """Return whether to save a snapshot before leaving, because another attempt is to go on from this step."""
        return self in (LeaveReason.TOLD_TO_STOP, LeaveReason.CUT_OFF)
