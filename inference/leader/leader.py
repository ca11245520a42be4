"""Rank 0's leader: takes jobs from the queue, runs an attempt at each, and ends with them when the process is to stop.

`inference.launch` makes one `Leader` and awaits `serve`. In: messages of the queue, cancellations, the order to stop.
Out: the events of jobs, their files, and the cluster's heartbeat. At most two jobs are in flight: the one on which the
ranks work, and either the previous one, whose mp4 is being written, or the next one, prefetched.
"""

import asyncio
import os
from contextlib import suppress

from contracts import subjects
from contracts.broker import Delivery, Unavailable
from contracts.process import lifetime, log, tracing
from contracts.stores import described
from inference.leader.attempt import Attempt
from inference.leader.attempt_runner import AttemptRunner
from inference.leader.context import RunnerContext
from inference.leader.figures import service_of
from inference.leader.heartbeat import publish_heartbeats
from inference.leader.job_message import JobMustFail, UnknownToThisVersion
from inference.leader.leave_reason import LeaveReason
from inference.leader.pace import Pace
from inference.leader.planner import LeftToAnother
from inference.ranks.monitor import LAST_ACTS_S

HAND_BACK_S = 20.0  # torchrun kills its ranks 30 s after SIGTERM
RETRY_PAUSE_S, STORE_PAUSE_S, LEFT_AGAIN_AFTER_S = 0.5, 2.0, 2.0
DEFAULT_ACK_WAIT_S = 30.0


class Leader:
    """Serves the queue for one cluster; one for the life of rank 0's process."""

    def __init__(self, context: RunnerContext) -> None:
        self._context, self._broker, self._videos = context, context.broker, context.video_store
        self._cluster, self._limits = context.cluster, context.limits
        self._bridge, self._monitor = context.bridge, context.monitor
        self._job_log, self._planner, self._completer = context.job_log, context.planner, context.completer
        self._pace, self._ack_wait_s = Pace(), DEFAULT_ACK_WAIT_S
        self._in_flight: dict[str, AttemptRunner] = {}  # by the job's id, in the order in which the jobs came
        context.numbers.in_hand = self._in_flight.__len__

    async def serve(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop`, then have them left and handed back, stop the ranks, and return. Call it once.

        Ends the process with exit code 1 instead if that takes longer than `HAND_BACK_S`, or once the group aborts.
        """
        await self._broker.wait_for_streams(subjects.EVENTS_STREAM, subjects.JOBS_STREAM, stop=stop)
        for ends in (subjects.LIVE_CANCELLATIONS, subjects.LIVE_DELETIONS):
            await self._broker.listen(ends, self._on_ended)
        log.get().info("cluster_ready", cluster=self._cluster.name, world_size=self._cluster.world_size)
        done, shown = asyncio.Event(), service_of(self._cluster, self._attempts, self._completer.ended)
        async with self._broker.announced(shown), asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_heartbeats(self._broker, self._cluster, self._attempts, self._pace, stop))
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
        attempts = self._attempts()
        for attempt in attempts[:-1]:
            await lifetime.wait_for_first(attempt.finished, stop)
        for attempt in attempts[-1:]:
            await lifetime.wait_for_first(attempt.ranks_decoding, stop)

    async def _pull_and_prepare(self, stop: asyncio.Event) -> Attempt | None:
        """Pull the next job from the queue and prepare an attempt at it; return None if no job is to be run now.

        If the broker or a store fails, the message stays unacknowledged: the job is delivered again, here or elsewhere.
        """
        try:
            if (trouble := await self._videos.trouble(self._limits.room_bytes)) is not None:
                log.get().warning("jobs_wait_for_store", **trouble.fields)
                await lifetime.wait_until_set(stop, within_s=STORE_PAUSE_S)
                return None
            consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            self._ack_wait_s = consumer.config.ack_wait or DEFAULT_ACK_WAIT_S
            delivery = await self._broker.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
            return None if delivery is None else await self._prepare_or_settle(delivery)
        except (Unavailable, OSError) as away:
            log.get().warning("job_put_off", error=described(away))
            await lifetime.wait_until_set(stop, within_s=RETRY_PAUSE_S)
            return None

    async def _prepare_or_settle(self, delivery: Delivery) -> Attempt | None:
        """Prepare an attempt at a job; return None if it was in flight or ended before, or now fails or is declined."""
        job_id = subjects.job_id_of(delivery.subject)
        with log.bound(job_id=job_id), tracing.joined(delivery.traceparent):
            if job_id in self._in_flight:  # it was delivered again while this process slept
                log.get().warning("job_in_hand_already")
                return None
            if (ending := await self._job_log.ending(job_id)) is not None:
                await self._completer.acknowledge_and_clean_up(delivery, ending)
                return None
            try:
                return Attempt(delivery, await self._planner.prepare(job_id, delivery.data), self._pace)
            except JobMustFail as error:
                await self._completer.fail(delivery, job_id, 0, str(error))
            except LeftToAnother:
                log.get().info("job_left_to_another_cluster")
                await delivery.hand_back(after_s=LEFT_AGAIN_AFTER_S)
            except UnknownToThisVersion as error:
                await self._completer.decline(delivery, job_id, str(error), patience_s=self._limits.task_timeout_s)
            return None

    async def _run_in_flight(self, runner: AttemptRunner) -> None:
        """Run an attempt that is in `_in_flight`, and take it out at its end."""
        with (attempt := runner.attempt).trace.running():
            try:
                await runner.run()
            finally:
                del self._in_flight[attempt.job_id]

    def _attempts(self) -> list[Attempt]:
        return [runner.attempt for runner in self._in_flight.values()]

    async def _on_ended(self, subject: str, _payload: bytes) -> None:
        """Ask the log about a job in flight at once. The message alone proves nothing, since anybody can send one."""
        if (runner := self._in_flight.get(subjects.job_id_of(subject))) is not None:
            with suppress(Unavailable), runner.attempt.trace.within():
                await runner.lease.confirm_or_leave()

    async def _hand_back_in_time(self, stop: asyncio.Event, done: asyncio.Event) -> None:
        """Have all jobs left on `stop`; after `HAND_BACK_S` hand back the rest, end the process. Return at `done`."""
        if await lifetime.wait_for_first(done, stop) is done:
            return
        for runner in list(self._in_flight.values()):
            attempt = runner.attempt
            with attempt.trace.within():
                runner.lease.order_leave(LeaveReason.TOLD_TO_STOP)
                if not attempt.begun:
                    await attempt.hand_back()
        if await lifetime.wait_until_set(done, within_s=HAND_BACK_S):
            return
        for attempt in self._attempts():
            with attempt.trace.within():
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
        if await lifetime.wait_for_first(done, self._bridge.aborting) is done:
            return
        attempts = self._attempts()
        for attempt in attempts:
            if not attempt.ranks_done.is_set():
                await attempt.hand_back()
        for attempt in [attempt for attempt in attempts if attempt.ranks_done.is_set()]:
            if not await lifetime.wait_until_set(attempt.finished, within_s=LAST_ACTS_S / 2):
                await attempt.hand_back()
        os._exit(1)
