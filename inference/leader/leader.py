"""Rank 0's leader: takes jobs from the queue, runs an attempt at each, and ends with them when the process is to stop.

`inference.launch` makes one `Leader` and awaits `serve`. In: messages of the queue, cancellations, the order to stop.
Out: the events of jobs, their files, and the cluster's heartbeat. At most two jobs are in flight: the one on which the
ranks work, and either the previous one, whose mp4 is being written, or the next one, prefetched.
"""

import asyncio
import os
from contextlib import suppress

from contracts import subjects
from contracts.broker import Bus, Delivery, Unavailable
from contracts.cluster import ClusterStatus
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.stores import Store, described
from inference.leader.attempt import Attempt, LeaveReason
from inference.leader.attempt_runner import AttemptRunner, RunnerContext
from inference.leader.bridge import ThreadBridge
from inference.leader.completion import JobCompleter
from inference.leader.heartbeat import publish_heartbeats
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_videos import JobVideos
from inference.leader.limits import Limits
from inference.leader.planner import AttemptPlanner, CannotRun, Unknown
from inference.leader.progress import Pace
from inference.ranks.monitor import LAST_ACTS_S, GroupMonitor

HAND_BACK_S = 20.0  # torchrun kills its ranks 30 s after SIGTERM
RETRY_PAUSE_S = 0.5
STORE_PAUSE_S = 2.0
DEFAULT_ACK_WAIT_S = 30.0


class Leader:
    """Serves the queue for one cluster; one for the life of rank 0's process."""

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
        self._broker, self._videos, self._cluster, self._limits = broker, videos, cluster, limits
        self._bridge, self._monitor, self._job_log = bridge, monitor, JobLog(broker, cluster.instance)
        checkpoints, job_videos = JobCheckpoints(scratch, cluster.weights), JobVideos(videos)
        self._planner = AttemptPlanner(
            self._job_log, videos=job_videos, scratch=scratch, checkpoints=checkpoints, cluster=cluster, limits=limits
        )
        self._completer = JobCompleter(
            self._job_log, videos=videos, scratch=scratch, checkpoints=checkpoints, instance=cluster.instance
        )
        self._context = RunnerContext(
            job_log=self._job_log,
            planner=self._planner,
            completer=self._completer,
            checkpoints=checkpoints,
            videos=job_videos,
            bridge=bridge,
            monitor=monitor,
            limits=limits,
            world_size=cluster.world_size,
            ranks_lock=asyncio.Lock(),
        )
        self._pace, self._ack_wait_s = Pace(), DEFAULT_ACK_WAIT_S
        self._in_flight: dict[str, AttemptRunner] = {}  # by the job's id, in the order in which the jobs came

    async def serve(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop`, then have them left and handed back, stop the ranks, and return. Call it once.

        Ends the process with exit code 1 instead if that takes longer than `HAND_BACK_S`, or once the group aborts.
        """
        await self._broker.wait_for_streams(subjects.EVENTS_STREAM, subjects.JOBS_STREAM, stop=stop)
        await self._broker.listen(subjects.LIVE_CANCELLATIONS, self._on_cancelled)
        log.get().info("cluster_ready", cluster=self._cluster.name, world_size=self._cluster.world_size)
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_heartbeats(self._broker, self._cluster, self._in_flight.keys, stop))
            tasks.create_task(self._end_with_the_group(done))
            tasks.create_task(self._hand_back_in_time(stop, done))
            async with asyncio.TaskGroup() as jobs:
                while not stop.is_set():
                    await self._wait_for_free_slot(stop)
                    if (attempt := await self._pull_and_prepare(stop)) is None:
                        continue
                    if stop.is_set():
                        await attempt.hand_back()
                        break
                    runner = AttemptRunner(attempt, self._context, ack_wait_s=self._ack_wait_s)
                    self._in_flight[attempt.job_id] = runner
                    jobs.create_task(self._run_in_flight(runner))
            done.set()
        self._bridge.stop()

    # -- the queue -------------------------------------------------------------------------------------------------

    async def _wait_for_free_slot(self, stop: asyncio.Event) -> None:
        """Wait until the ranks are at the last stage of the last job in flight and all others are done, or `stop`."""
        attempts = [runner.attempt for runner in self._in_flight.values()]
        for attempt in attempts[:-1]:
            await lifetime.first_of(attempt.finished, stop)
        for attempt in attempts[-1:]:
            await lifetime.first_of(attempt.ranks_decoding, stop)

    async def _pull_and_prepare(self, stop: asyncio.Event) -> Attempt | None:
        """Pull the next job from the queue and prepare an attempt at it; return None if no job is to be run now.

        If the broker or a store fails, the message stays unacknowledged: the job is delivered again, here or elsewhere.
        """
        try:
            if (trouble := await self._videos.trouble(self._limits.room_bytes)) is not None:
                log.get().warning("jobs_wait_for_store", **trouble.fields)
                await lifetime.wait(stop, within_s=STORE_PAUSE_S)
                return None
            consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            self._ack_wait_s = consumer.config.ack_wait or DEFAULT_ACK_WAIT_S
            delivery = await self._broker.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
            return None if delivery is None else await self._prepare_or_settle(delivery)
        except (Unavailable, OSError) as away:
            log.get().warning("job_put_off", error=described(away))
            await lifetime.wait(stop, within_s=RETRY_PAUSE_S)
            return None

    async def _prepare_or_settle(self, delivery: Delivery) -> Attempt | None:
        """Prepare an attempt at a job; return None if it was in flight or ended before, or now fails or is declined."""
        job_id = subjects.job_id_of(delivery.subject)
        with log.bound(job_id=job_id):
            if job_id in self._in_flight:  # it was delivered again while this process slept
                log.get().warning("job_in_hand_already")
                return None
            if (ending := await self._job_log.ending(job_id)) is not None:
                await self._completer.acknowledge_and_clean_up(delivery, ending)
                return None
            try:
                return Attempt(delivery, await self._planner.prepare(job_id, delivery.data), self._pace)
            except CannotRun as error:
                await self._completer.fail(delivery, job_id, 0, str(error))
            except Unknown as error:
                await self._completer.decline(delivery, job_id, str(error), patience_s=self._limits.task_timeout_s)
            return None

    async def _run_in_flight(self, runner: AttemptRunner) -> None:
        """Run an attempt that is in `_in_flight`, and take it out at its end."""
        attempt = runner.attempt
        with log.bound(job_id=attempt.job_id, attempt=attempt.number):
            try:
                await runner.run()
            finally:
                del self._in_flight[attempt.job_id]

    async def _on_cancelled(self, subject: str, _payload: bytes) -> None:
        """Ask the log about a job in flight at once. The message alone proves nothing, since anybody can send one."""
        if (runner := self._in_flight.get(subjects.job_id_of(subject))) is not None:
            with suppress(Unavailable), log.bound(job_id=runner.attempt.job_id, attempt=runner.attempt.number):
                await runner.lease.confirm_or_leave()

    # -- the cluster -----------------------------------------------------------------------------------------------

    async def _hand_back_in_time(self, stop: asyncio.Event, done: asyncio.Event) -> None:
        """Have all jobs left on `stop`; after `HAND_BACK_S` hand back the rest, end the process. Return at `done`."""
        if await lifetime.first_of(done, stop) is done:
            return
        for runner in list(self._in_flight.values()):
            attempt = runner.attempt
            with log.bound(job_id=attempt.job_id, attempt=attempt.number):
                runner.lease.order_leave(LeaveReason.TOLD_TO_STOP)
                if not attempt.begun:
                    await attempt.hand_back()
        if await lifetime.wait(done, within_s=HAND_BACK_S):
            return
        for attempt in [runner.attempt for runner in self._in_flight.values()]:
            with log.bound(job_id=attempt.job_id, attempt=attempt.number):
                log.get().warning("left_within_a_step", stage=attempt.progress.stage)
                if attempt.begun and self._monitor.all_alive:
                    await self._completer.release(attempt)
                else:  # torchrun stops the group because a rank has died: the attempt counts
                    await attempt.hand_back()
        os._exit(1)

    async def _end_with_the_group(self, done: asyncio.Event) -> None:
        """Hand back the jobs once the group of ranks aborts, and end the process. Return at `done`.

        The attempts count as died. A video that the ranks have delivered may still be stored, as far as time allows.
        """
        if await lifetime.first_of(done, self._bridge.aborting) is done:
            return
        attempts = [runner.attempt for runner in self._in_flight.values()]
        for attempt in attempts:
            if not attempt.ranks_done.is_set():
                await attempt.hand_back()
        for attempt in attempts:
            if attempt.ranks_done.is_set() and not await lifetime.wait(attempt.finished, within_s=LAST_ACTS_S / 2):
                await attempt.hand_back()
        os._exit(1)
