"""End the job of ranks that hang: one of them has failed inside a collective, and the others wait for it for ever."""

from collections.abc import Awaitable, Callable

from contracts.process import lifetime
from inference.leader.attempt import Attempt
from inference.ranks.monitor import GroupMonitor

AGREE_WITHIN_S = 10.0
"""How long the other ranks may take to their next boundary after one has failed, before they count as hanging."""


async def fail_if_ranks_hang(attempt: Attempt, monitor: GroupMonitor, fail: Callable[[str], Awaitable[None]]) -> None:
    """Fail the job and abort the group if a rank has failed and the others do not reach the next vote in time.

    They hang in a collective, so the group must be restarted. If ranks are dead, the attempt counts as one whose
    cluster died: the job is not failed. `fail` ends the job with a reason.
    """
    first = await lifetime.wait_for_first(attempt.rank_failed, attempt.ranks_done, attempt.finished)
    if first is not attempt.rank_failed:
        return
    if await lifetime.wait_until_set(attempt.ranks_done, within_s=AGREE_WITHIN_S) or attempt.failure is None:
        return
    try:
        if monitor.all_alive:
            await fail(attempt.failure.reason)
    finally:
        monitor.abort_group("a rank failed inside a collective")
