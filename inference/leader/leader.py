"""Rank 0 only: a job message in, its events out. Has jobs generated, one after the other, and sees each to its end.

Knows nothing of tensors but that a video is one. The loop of the ranks runs in another thread, behind `ThreadBridge`.

Two jobs are in hand at most: one that the ranks are at, and either the one before it, whose mp4 is being written, or
the one after it, read already. `started` is published before any work, and refused by the broker where somebody else
was first: so a job may be delivered twice, and is still done once.
"""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import torch
from msgspec import structs
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Delivery, Unavailable
from contracts.cluster import ClusterStatus
from contracts.job import video_name
from contracts.job_log import JobLog, logged
from contracts.process import lifetime, log
from contracts.stores import Store, described, no_room
from inference.leader.attempt import Attempt, LeaveReason
from inference.leader.attempt_history import history_of
from inference.leader.bridge import ThreadBridge
from inference.leader.completion import JobCompleter
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.mp4 import write_mp4
from inference.leader.planner import AttemptPlanner, CannotRun, Limits, Unknown
from inference.leader.progress import Pace
from inference.ranks import out_of_memory
from inference.ranks.monitor import LAST_ACTS_S, GroupMonitor
from inference.ranks.worker import Failed, Generated, Left, Outcome

HEARTBEAT_S = 2.0
HEARTBEATS_AN_ACK_WAIT = 3
AGREE_WITHIN_S = 10.0
"""How long after a rank has failed the others may take to their next boundary, before they count as hanging."""
HAND_BACK_S = 20.0  # torchrun kills its ranks 30 s after SIGTERM
REPORT_WITHIN_S = 5.0
SAVE_WITHIN_S = 10.0
RETRY_PAUSE_S = 0.5
STORE_PAUSE_S = 2.0
DEFAULT_ACK_WAIT_S = 30.0
STORAGE_FULL = "storage_full"  # the first word of a reason, for programs


class Leader:
    def __init__(
        self,
        *,
        broker: Bus,
        videos: Store,
        scratch: Store,
        bridge: ThreadBridge,
        monitor: GroupMonitor,
        cluster: ClusterStatus,
        limits: Limits,
    ) -> None:
        self._broker, self._videos = broker, videos
        self._bridge, self._monitor, self._cluster, self._limits = bridge, monitor, cluster, limits
        self._log = JobLog(broker, cluster.instance)
        self._checkpoints = JobCheckpoints(scratch, cluster.weights)
        files = {"videos": videos, "scratch": scratch}
        self._planner = AttemptPlanner(
            self._log, **files, checkpoints=self._checkpoints, cluster=cluster, limits=limits
        )
        self._completer = JobCompleter(self._log, **files, checkpoints=self._checkpoints, instance=cluster.instance)
        self._pace = Pace()
        self._in_hand: dict[str, Attempt] = {}
        """By the job's id, in the order in which they came."""
        self._ranks = asyncio.Lock()
        self._on_ranks: Attempt | None = None
        self._ack_wait_s = DEFAULT_ACK_WAIT_S

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then hand back what is running."""
        await self._broker.wait_for_streams(subjects.EVENTS_STREAM, subjects.JOBS_STREAM, stop=stop)
        await self._broker.listen(subjects.LIVE_CANCELLATIONS, self._on_cancelled)
        log.get().info("cluster_ready", cluster=self._cluster.name, world_size=self._cluster.world_size)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heartbeat(stop))
            tasks.create_task(self._end_with_the_group(over))
            tasks.create_task(self._hand_back_in_time(stop, over))
            async with asyncio.TaskGroup() as jobs:
                while not stop.is_set():
                    await self._until_there_is_room(stop)
                    if (attempt := await self._next(stop)) is None:
                        continue
                    if stop.is_set():
                        await attempt.hand_back()
                        break
                    self._in_hand[attempt.job_id] = attempt
                    jobs.create_task(self._attend(attempt))
            over.set()
        self._bridge.stop()

    async def _until_there_is_room(self, stop: asyncio.Event) -> None:
        """Until the ranks are at the last stage of the last job, and all before it are over."""
        attempts = list(self._in_hand.values())
        for event in [
            *(attempt.finished for attempt in attempts[:-1]),
            *(attempt.ranks_decoding for attempt in attempts[-1:]),
        ]:
            await lifetime.first_of(event, stop)

    async def _next(self, stop: asyncio.Event) -> Attempt | None:
        """The next job of the queue, read and ready to be claimed; None where there is none that wants running."""
        try:
            if (trouble := await self._videos.trouble(self._limits.room_bytes)) is not None:
                log.get().warning("jobs_wait_for_store", **trouble.fields)
                await lifetime.wait(stop, within_s=STORE_PAUSE_S)
                return None
            consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            self._ack_wait_s = consumer.config.ack_wait or DEFAULT_ACK_WAIT_S
            delivery = await self._broker.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
            return None if delivery is None else await self._read(delivery)
        except (Unavailable, OSError) as away:  # not acknowledged: the message comes again, here or elsewhere
            log.get().warning("job_put_off", error=described(away))
            await lifetime.wait(stop, within_s=RETRY_PAUSE_S)
            return None

    async def _read(self, delivery: Delivery) -> Attempt | None:
        """See whether the job wants running, and end it where it cannot be run."""
        job_id = subjects.job_id_of(delivery.subject)
        with log.bound(job_id=job_id):
            if job_id in self._in_hand:  # it came again while this process slept
                log.get().warning("job_in_hand_already")
                return None
            if (ending := await self._log.ending(job_id)) is not None:
                await self._completer.acknowledge_and_clean_up(delivery, ending)
                return None
            try:
                return Attempt(delivery, await self._planner.prepare(job_id, delivery.data), self._pace)
            except CannotRun as error:
                await self._completer.fail(delivery, job_id, 0, str(error))
            except Unknown as error:
                await self._completer.decline(delivery, job_id, str(error), patience_s=self._limits.task_timeout_s)
            return None

    # -- one job ---------------------------------------------------------------------------------------------------

    async def _attend(self, attempt: Attempt) -> None:
        """Have the job run, keep its message ours meanwhile, and end it as it came out."""
        with log.bound(job_id=attempt.job_id, attempt=attempt.number):
            try:
                async with asyncio.TaskGroup() as tasks:
                    for companion in (self._keep, self._tell, self._save, self._end_for_hanging_ranks):
                        tasks.create_task(companion(attempt))
                    try:
                        async with self._ranks:
                            outcome = await self._generate(attempt)
                        await self._conclude(attempt, outcome)
                    finally:
                        attempt.finish()
            except* (Unavailable, OSError) as away:  # not acknowledged: the message comes again, here or elsewhere
                log.get().warning("job_put_off", error=described(away.exceptions[0]))
            finally:
                del self._in_hand[attempt.job_id]

    async def _generate(self, attempt: Attempt) -> Outcome | None:
        """Claim the job and have the ranks at it; None where its video is there already."""
        if attempt.leave_reason is not None:
            return Left()
        attempt.begin()
        prepared = attempt.prepared
        if not await self._planner.claim(prepared, attempt.progress.value):
            attempt.leave(LeaveReason.TAKEN_OVER)
        if attempt.leave_reason is not None:
            return Left()
        if prepared.video_exists:
            return None
        run = prepared.run
        from_step = run.resumed_from_step
        log.get().info(
            "job_started", width=run.width, height=run.height, from_step=from_step, **structs.asdict(run.plan)
        )
        time_is_up = asyncio.get_running_loop().call_later(prepared.left_s, self._leave, attempt, LeaveReason.TIMED_OUT)
        self._on_ranks = attempt
        try:
            return await self._bridge.run(run, attempt.boundary, attempt.failure_reported, attempt.snapshot_ready)
        finally:
            time_is_up.cancel()
            self._on_ranks = None
            attempt.ranks_done.set()

    async def _conclude(self, attempt: Attempt, outcome: Outcome | None) -> None:
        await lifetime.wait(attempt.snapshot_saved, within_s=SAVE_WITHIN_S)
        match outcome:
            case Generated(video_CTHW):
                await self._store(attempt, video_CTHW)
            case Failed(reason):
                await self._fail(attempt, reason)
            case Left():
                await self._conclude_left(attempt)
            case None:
                log.get().info("video_adopted")
                await self._completer.succeed(attempt)

    async def _store(self, attempt: Attempt, video_CTHW: torch.Tensor) -> None:
        """Encode the mp4 beside its place, and make it the file of that name unless the job is lost meanwhile."""
        name = video_name(attempt.job_id)
        loop = asyncio.get_running_loop()

        def encode(draft: Path) -> None:
            def on_frame(done: int) -> None:
                loop.call_soon_threadsafe(attempt.progress.at, "store", done / video_CTHW.shape[1])

            write_mp4(video_CTHW, draft, on_frame, fingerprint=attempt.prepared.job_fingerprint)

        try:
            with self._videos.draft(name) as draft:
                await asyncio.to_thread(encode, draft)
                attempt.mark("store")
                attempt.progress.end()
                with suppress(Unavailable):  # without a broker the file is safe to make: who comes next adopts it
                    await self._confirm(attempt)
                if not attempt.job_lost and not await self._publish(attempt, draft, name):
                    log.get().warning("video_adopted")
        except (OSError, RuntimeError, MemoryError) as error:
            if (reason := self._no_room(error, attempt)) is None:
                raise
            log.get().error("video_not_stored", error=repr(error))
            await self._fail(attempt, reason)
            return
        await (self._conclude_left(attempt) if attempt.job_lost else self._completer.succeed(attempt))

    async def _publish(self, attempt: Attempt, draft: Path, name: str) -> bool:
        """Make the draft the job's video; False if a video that may stay is there.

        One that another job_fingerprint made is replaced, but never without the log's word that the job is still this
        attempt's: the other may be what the job has ended with. Raises `Unavailable` if the log does not answer then.
        """
        if await self._videos.publish(draft, name):
            return True
        if await self._planner.is_video_made(attempt.job_id, attempt.prepared.job_fingerprint):
            return False
        await self._confirm(attempt)
        if attempt.job_lost:
            return False
        await self._planner.remove_video(attempt.job_id)
        return await self._videos.publish(draft, name)

    def _no_room(self, error: Exception, attempt: Attempt) -> str | None:
        """Why the video cannot be kept, where it is for want of room on a disk or in memory."""
        if isinstance(error, OSError) and no_room(error):
            return f"{STORAGE_FULL}: there is no room for the video"
        if out_of_memory.is_out_of_memory(error):
            return out_of_memory.advice("store", attempt.job, attempt.prepared.run.plan, self._cluster.world_size)
        return None

    async def _conclude_left(self, attempt: Attempt) -> None:
        match attempt.leave_reason:
            case LeaveReason.TOLD_TO_STOP:
                await (self._completer.release(attempt) if attempt.begun else attempt.hand_back())
            case LeaveReason.TIMED_OUT:
                limit_s = self._limits.task_timeout_s
                await self._fail(attempt, f"it ran longer than the {limit_s:g} s that a job may")
            case LeaveReason.ENDED:
                if (ending := await self._log.ending(attempt.job_id)) is not None:
                    await self._completer.acknowledge_and_clean_up(attempt.delivery, ending)
            case _:  # "taken over" or "cut off": somebody else's now, or whose the broker will say when it is back
                log.get().warning("job_left", why=attempt.leave_reason)

    async def _fail(self, attempt: Attempt, reason: str) -> None:
        await self._completer.fail(attempt.delivery, attempt.job_id, attempt.number, reason)

    # -- while it runs ---------------------------------------------------------------------------------------------

    async def _keep(self, attempt: Attempt) -> None:
        """Keep the message ours while the job moves, and leave the job once it is lost."""
        beat_s = self._ack_wait_s / HEARTBEATS_AN_ACK_WAIT
        while not attempt.finished.is_set():
            limit_s = attempt.progress.limit_s(self._limits.stage_floor_s, self._limits.stage_timeout_s)
            if attempt.still_for_s() < limit_s:
                await attempt.delivery.extend_ack_wait()
            else:
                self._monitor.abort_group(
                    f"nothing moved in {attempt.progress.stage} for {attempt.still_for_s():.0f} s"
                )
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(beat_s):  # the next sign of life must not wait for an election
                    await self._confirm(attempt)
            if attempt.unconfirmed_for_s() > self._ack_wait_s and not attempt.ranks_done.is_set():
                self._leave(attempt, LeaveReason.CUT_OFF)
            await lifetime.wait(attempt.finished, within_s=beat_s)

    async def _confirm(self, attempt: Attempt) -> None:
        """Ask the log whether the job is still this attempt's, and leave it where it is not. Raises `Unavailable`."""
        if await self._log.ending(attempt.job_id) is not None:
            self._leave(attempt, LeaveReason.ENDED)
        else:
            last = await self._log.last_start(attempt.job_id)
            if history_of(logged([] if last is None else [last])).latest > attempt.number:
                self._leave(attempt, LeaveReason.TAKEN_OVER)
        attempt.confirm()

    async def _tell(self, attempt: Attempt) -> None:
        """Publish what the attempt reports. A report that cannot be published in time is lost; an ending never is.

        Who has not heard from the log for an `ack_wait` may have slept while another took over, and asks first.
        """
        while not attempt.finished.is_set():
            await attempt.reports_waiting.wait()
            attempt.reports_waiting.clear()
            while attempt.reports and not attempt.finished.is_set():
                report = attempt.reports.popleft()
                try:
                    if attempt.unconfirmed_for_s() > self._ack_wait_s:
                        await self._confirm(attempt)
                    if not attempt.job_lost:
                        await self._log.append(report, within_s=REPORT_WITHIN_S)
                except Unavailable as error:
                    log.get().warning("report_lost", error=str(error))

    async def _save(self, attempt: Attempt) -> None:
        """Keep what is taken of the running job's state, beside its steps. One that cannot be kept is lost, no more."""
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
                self._bridge.snapshot_saved()

    async def _end_for_hanging_ranks(self, attempt: Attempt) -> None:
        """A rank has failed and the others do not come to agree on it: the job ends without them, and so do they."""
        if (
            await lifetime.first_of(attempt.rank_failed, attempt.ranks_done, attempt.finished)
            is not attempt.rank_failed
        ):
            return
        if await lifetime.wait(attempt.ranks_done, within_s=AGREE_WITHIN_S) or attempt.failure is None:
            return
        try:
            if self._monitor.all_alive:
                await self._fail(attempt, attempt.failure.reason)
        finally:
            self._monitor.abort_group("a rank failed inside a collective")

    async def _on_cancelled(self, subject: str, _payload: bytes) -> None:
        """Look into the log at once: a live message alone proves nothing, since anybody can send one."""
        if (attempt := self._in_hand.get(subjects.job_id_of(subject))) is not None:
            with suppress(Unavailable), log.bound(job_id=attempt.job_id, attempt=attempt.number):
                await self._confirm(attempt)

    def _leave(self, attempt: Attempt, reason: LeaveReason) -> None:
        if attempt.leave(reason):
            log.get().info("job_halted", why=reason)
            if attempt is self._on_ranks:
                self._bridge.leave(save_first=reason.save_first)

    # -- the cluster -----------------------------------------------------------------------------------------------

    async def _hand_back_in_time(self, stop: asyncio.Event, over: asyncio.Event) -> None:
        """Told to stop, leave jobs at their next boundary; where that is too far off, hand them back and be gone."""
        if await lifetime.first_of(over, stop) is over:
            return
        for attempt in list(self._in_hand.values()):
            with log.bound(job_id=attempt.job_id, attempt=attempt.number):
                self._leave(attempt, LeaveReason.TOLD_TO_STOP)
                if not attempt.begun:
                    await attempt.hand_back()
        if await lifetime.wait(over, within_s=HAND_BACK_S):
            return
        for attempt in list(self._in_hand.values()):
            with log.bound(job_id=attempt.job_id, attempt=attempt.number):
                log.get().warning("left_within_a_step", stage=attempt.progress.stage)
                if attempt.begun and self._monitor.all_alive:
                    await self._completer.release(attempt)
                else:  # torchrun stops the group because a rank has died: that is no release
                    await attempt.hand_back()
        os._exit(1)

    async def _end_with_the_group(self, over: asyncio.Event) -> None:
        """When the ranks go down, the job on them is another's at once; the attempt counts as one that died.

        A video that is out of the ranks may still be written, as far as the time goes.
        """
        if await lifetime.first_of(over, self._bridge.aborting) is over:
            return
        attempts = list(self._in_hand.values())
        for attempt in attempts:
            if not attempt.ranks_done.is_set():
                await attempt.hand_back()
        for attempt in attempts:
            if attempt.ranks_done.is_set() and not await lifetime.wait(attempt.finished, within_s=LAST_ACTS_S / 2):
                await attempt.hand_back()
        os._exit(1)

    async def _heartbeat(self, stop: asyncio.Event) -> None:
        """Say that the cluster lives, what it can do and what it does; at the end, that it is gone."""
        instance = self._cluster.instance
        while not stop.is_set():
            beat = replace(self._cluster, at=time.time(), current_jobs=list(self._in_hand))
            with suppress(Unavailable):
                await self._broker.put_last(subjects.CLUSTERS_BUCKET, instance, wire.encode(beat))
            await lifetime.wait(stop, within_s=HEARTBEAT_S)
        with suppress(Unavailable):
            await self._broker.put_last(subjects.CLUSTERS_BUCKET, instance, b"")
