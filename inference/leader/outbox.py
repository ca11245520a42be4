"""Send what an attempt has to say while its ranks work: reports, previews, and snapshots for the scratch store.

`AttemptRunner` makes one `Outbox` for each attempt. It works beside the ranks, which wait for nothing: what cannot be
sent in time is lost.
"""

import asyncio

from contracts.broker import Unavailable
from contracts.job_log import JobLog
from contracts.process import log
from inference.leader.attempt import Attempt
from inference.leader.bridge import ThreadBridge
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.lease import Lease
from inference.leader.leave_reason import LeaveReason
from inference.leader.previews import preview_of

REPORT_WITHIN_S = 5.0


class Outbox:
    """Publishes reports and previews of an attempt and saves snapshots; each task ends with the attempt."""

    def __init__(
        self, attempt: Attempt, lease: Lease, job_log: JobLog, checkpoints: JobCheckpoints, bridge: ThreadBridge
    ) -> None:
        self._attempt, self._lease = attempt, lease
        self._job_log, self._checkpoints, self._bridge = job_log, checkpoints, bridge

    async def publish_reports(self) -> None:
        """Publish the attempt's `reports` until it is finished. A report is lost if it cannot be published in time.

        Once the job is lost nothing more is published. If the lease is not fresh, this process may have slept while
        another cluster took over the job: the log is asked before each report.
        """
        attempt = self._attempt
        while not attempt.finished.is_set():
            await attempt.reports_waiting.wait()
            attempt.reports_waiting.clear()
            while attempt.reports and not attempt.finished.is_set():
                report = attempt.reports.popleft()
                try:
                    if not self._lease.is_fresh:
                        await self._lease.confirm_or_leave()
                    if not attempt.job_lost:
                        await self._job_log.append(report, within_s=REPORT_WITHIN_S)
                except Unavailable as error:
                    log.get().warning("report_lost", error=str(error))

    async def publish_previews(self) -> None:
        """Publish the attempt's previews until it is finished: each time the latest, whatever was in between.

        A preview is dropped if the broker is slow or away, and while it is not certain that the job is still ours.
        """
        attempt = self._attempt
        while not attempt.finished.is_set():
            await attempt.preview_waiting.wait()
            attempt.preview_waiting.clear()
            waiting, attempt.preview = attempt.preview, None
            if waiting is None or attempt.job_lost or not self._lease.is_fresh:
                continue
            step, picture = waiting
            try:
                preview = await asyncio.to_thread(
                    preview_of,
                    picture,
                    job_id=attempt.job_id,
                    attempt=attempt.number,
                    step=step,
                    steps=attempt.job.infer_steps,
                )
            except (OSError, ValueError) as error:  # of Pillow's
                log.get().warning("preview_not_made", step=step, error=repr(error))
                continue
            if preview is not None:
                await self._job_log.show(preview)

    async def save_snapshots(self) -> None:
        """Save the snapshots as the job's checkpoint until the attempt is finished, and allow the next after each.

        A snapshot that the store does not take is lost, as are those of a job that has ended or was taken over.
        """
        attempt = self._attempt
        while not attempt.finished.is_set():
            await attempt.snapshot_waiting.wait()
            attempt.snapshot_waiting.clear()
            snapshot, attempt.snapshot = attempt.snapshot, None
            if snapshot is None:
                continue
            try:
                if attempt.leave_reason not in (LeaveReason.ENDED, LeaveReason.TAKEN_OVER):
                    job_fingerprint = attempt.prepared.job_fingerprint
                    await self._checkpoints.write(attempt.job_id, attempt.number, job_fingerprint, snapshot)
            except OSError as error:
                log.get().warning("checkpoint_not_kept", step=snapshot.step, error=repr(error))
            finally:
                attempt.snapshot_saved.set()
                self._bridge.allow_next_snapshot()
