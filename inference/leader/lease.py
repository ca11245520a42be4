"""The lease on a job: the right of one attempt to work on it, renewed at the broker until the attempt is finished.

`AttemptRunner` makes one for each attempt. The lease renews the message of the queue while the job moves, and asks the
log whether the job has an ending or a later attempt: if so, or if the log does not answer, the attempt is left.
"""

import asyncio
from contextlib import suppress

from contracts.broker import Unavailable
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from inference.leader.attempt import Attempt
from inference.leader.bridge import ThreadBridge
from inference.leader.last_start import last_start
from inference.leader.leave_reason import LeaveReason
from inference.leader.limits import Limits
from inference.ranks.monitor import GroupMonitor

RENEWALS_AN_ACK_WAIT = 3


class Lease:
    """The lease of an attempt, which lives until the attempt is finished.

    The broker delivers the job again `ack_wait_s` after the last renewal.
    """

    def __init__(
        self,
        attempt: Attempt,
        job_log: JobLog,
        *,
        bridge: ThreadBridge,
        monitor: GroupMonitor,
        limits: Limits,
        ack_wait_s: float,
    ) -> None:
        self._attempt, self._job_log = attempt, job_log
        self._bridge, self._monitor, self._limits = bridge, monitor, limits
        self._ack_wait_s = ack_wait_s

    async def renew_or_leave(self) -> None:
        """Renew the lease until the attempt is finished, and have the attempt left once the job is lost.

        If the job has not moved for longer than its stage may take, abort the group of ranks instead of renewing. If
        the log cannot be asked for `ack_wait_s`, ranks at work leave the attempt as `CUT_OFF`. Raises no `Unavailable`.
        """
        attempt = self._attempt
        renew_every_s = self._ack_wait_s / RENEWALS_AN_ACK_WAIT
        while not attempt.finished.is_set():
            limit_s = attempt.progress.stillness_limit_s(self._limits.stage_floor_s, self._limits.stage_timeout_s)
            if attempt.still_for_s() < limit_s:
                await attempt.delivery.extend_ack_wait()
            else:
                still_s = attempt.still_for_s()
                self._monitor.abort_group(f"nothing moved in {attempt.progress.stage} for {still_s:.0f} s")
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(renew_every_s):  # the next renewal must not wait for an election
                    await self.confirm_or_leave()
            if not self.is_fresh and not attempt.ranks_done.is_set():
                self.order_leave(LeaveReason.CUT_OFF)
            await lifetime.wait_until_set(attempt.finished, within_s=renew_every_s)

    @property
    def is_fresh(self) -> bool:
        """Return whether the log has confirmed the lease within the last `ack_wait_s`."""
        return self._attempt.unconfirmed_for_s() <= self._ack_wait_s

    async def confirm_or_leave(self) -> None:
        """Ask the log whether the job has an ending or a later attempt, and have this attempt left if so.

        The lease is fresh afterwards. Raises `Unavailable`, and then nothing has changed.
        """
        attempt = self._attempt
        if await self._job_log.ending(attempt.job_id) is not None:
            self.order_leave(LeaveReason.ENDED)
        elif (await last_start(self._job_log, attempt.job_id)).attempt > attempt.number:
            self.order_leave(LeaveReason.TAKEN_OVER)
        attempt.note_confirmed()

    async def still_ours(self) -> bool:
        """Ask the log as `confirm_or_leave` does, and return whether the job is not lost. Raises `Unavailable`."""
        await self.confirm_or_leave()
        return not self._attempt.job_lost

    def order_leave(self, reason: LeaveReason) -> None:
        """Have the attempt left for this reason, unless an earlier reason stands (`Attempt.set_leave_reason`).

        Ranks at work on it leave it at their next boundary, after a snapshot if another attempt is to go on.
        """
        if self._attempt.set_leave_reason(reason):
            log.get().info("job_halted", why=reason.value)
            if self._attempt.on_ranks:
                self._bridge.order_leave(save_first=reason.save_first)
