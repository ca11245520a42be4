"""Rank 0 only: a job message in, its events out. Everything that a job needs of broker and store happens here.

Knows nothing of tensors but that a video is one. The loop of the ranks runs in another thread, behind `Desk`.

An ending is published before the message is acknowledged, and `started` before any work, each refused by the broker
where somebody else was first: so a job may be delivered twice, and is still done once.
"""

import asyncio
import hashlib
import io
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import torch
from msgspec import Struct, structs
from msgspec.structs import replace
from PIL import Image, ImageOps

from contracts import blobs, lifetime, log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus, Delivery, Expect, Stored, Unavailable, WrongSequence
from contracts.cluster import ClusterStatus, objections, plan_of
from contracts.events import (
    Ending,
    Event,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
)
from contracts.job import Job, input_name, output_size, video_name, video_path, video_url
from inference.attempt import Attempt, Why
from inference.commands import Run
from inference.desk import Desk
from inference.history import Past, past
from inference.progress import Pace, Progress
from inference.video import probe, write_mp4
from inference.watch import Watch
from inference.worker import GaveUp, Generated, Left

HEARTBEAT_S = 2.0
HEARTBEATS_AN_ACK_WAIT = 3
AGREE_WITHIN_S = 10.0
"""How long after a rank has failed the others may take to their next boundary, before they count as hanging."""
HAND_BACK_S = 20.0  # torchrun kills its ranks 30 s after SIGTERM
PUBLISH_WITHIN_S = 30.0
REPORT_WITHIN_S = 5.0
RETRY_PAUSE_S = 0.5
STORE_PAUSE_S = 2.0
DEFAULT_ACK_WAIT_S = 30.0
UNREADABLE = "the job could not be read"
STORAGE_FULL = "storage_full"  # the first word of a reason, for programs


class Limits(Struct, frozen=True):
    """What a job may use up: seconds over all its attempts, and attempts that were not handed back.

    `stage_timeout_s` is how long a stage, or one step of `denoise`, may take before the ranks count as hanging.
    """

    task_timeout_s: float
    stage_timeout_s: float
    max_attempts: int


class Hopeless(Exception):
    """The job cannot be run, here or anywhere; the text is safe to show."""


class Plan(Struct, frozen=True):
    """The next attempt at a job, the `started` before it, and the seconds that the job may still run.

    `recipe` tells its video from any other; `made` where an attempt before this one came as far as the file.
    """

    run: Run
    expect: Expect
    left_s: float
    recipe: str
    made: bool


class Lead:
    """Pulls jobs one at a time and sees each to its end."""

    def __init__(
        self,
        *,
        broker: Bus,
        videos: Store,
        scratch: Store,
        desk: Desk,
        watch: Watch,
        cluster: ClusterStatus,
        limits: Limits,
    ) -> None:
        self._broker, self._videos, self._scratch = broker, videos, scratch
        self._desk, self._watch, self._cluster, self._limits = desk, watch, cluster, limits
        self._instance = cluster.instance
        self._pace = Pace()
        self._attempt: Attempt | None = None
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
            while not stop.is_set():
                await self._serve_one(stop)
            over.set()
        self._desk.stop()

    async def _serve_one(self, stop: asyncio.Event) -> None:
        try:
            if not await self._videos.writable():
                log.get().warning("video_store_full_or_read_only")
                await lifetime.wait(stop, within_s=STORE_PAUSE_S)
                return
            consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            self._ack_wait_s = consumer.config.ack_wait or DEFAULT_ACK_WAIT_S
            delivery = await self._broker.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
            if delivery is not None:
                with log.bound(job_id=subjects.job_id_of(delivery.subject)):
                    await self._take(delivery, stop)
        except* (Unavailable, OSError) as away:  # not acknowledged: the message comes again, here or elsewhere
            log.get().warning("job_put_off", error=repr(away.exceptions[0]))
            await lifetime.wait(stop, within_s=RETRY_PAUSE_S)

    async def _end_with_the_group(self, over: asyncio.Event) -> None:
        """When the ranks go down, the job in hand is another's at once; the attempt counts as one that died."""
        if await lifetime.first_of(over, self._desk.down) is self._desk.down:
            if self._attempt is not None:
                await self._attempt.delivery.hand_back()
            os._exit(1)

    # -- one job ---------------------------------------------------------------------------------------------------

    async def _take(self, delivery: Delivery, stop: asyncio.Event) -> None:
        """See that the job still wants running, claim it, and run it."""
        job_id = subjects.job_id_of(delivery.subject)
        if await self._ending(job_id) is not None:
            await self._finish(delivery, job_id)
            return
        try:
            plan = await self._plan(job_id, delivery.data)
        except Hopeless as error:
            await self._fail(delivery, job_id, 0, str(error))
            return
        if await self._claim(plan.run, plan.expect):
            with log.bound(attempt=plan.run.attempt):
                by = structs.asdict(plan.run.plan)
                log.get().info("job_started", width=plan.run.width, height=plan.run.height, **by)
                await self._attend(delivery, plan, stop)

    async def _plan(self, job_id: str, data: bytes) -> Plan:
        """What the next attempt at the job would be. Raises `Hopeless`."""
        submitted = _submitted(job_id, data)
        png = await self._scratch.read(input_name(job_id))
        recipe = _recipe(submitted.job, png or b"")
        made = png is not None and await self._is_made(video_name(job_id), recipe)
        log_so_far = await self._broker.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
        last = await self._last_start(job_id)
        so_far = _past(*log_so_far, last)
        if not made and so_far.burnt >= self._limits.max_attempts:
            raise Hopeless(f"given up after {so_far.burnt} attempts")
        if not made and (wrong := objections(submitted.job, [self._cluster])):
            raise Hopeless("; ".join(objection.message for objection in wrong))
        if png is None:
            raise Hopeless("the input image is gone")
        run = await asyncio.to_thread(_prepare, submitted, so_far.latest + 1, png, self._cluster)
        left_s = self._limits.task_timeout_s - so_far.spent_s
        return Plan(run, Expect(0 if last is None else last.sequence), left_s, recipe, made)

    async def _claim(self, run: Run, expect: Expect) -> bool:
        """Publish `started` as the next attempt. False where another cluster was first: the job is theirs."""
        started = JobStarted(
            job_id=run.job_id,
            at=time.time(),
            attempt=run.attempt,
            instance=self._instance,
            width=run.width,
            height=run.height,
            num_frames=run.job.num_frames,
            plan=run.plan,
        )
        try:
            await self._publish(started, expect=expect)
        except WrongSequence:
            winner = await self._last_start(run.job_id)
            if winner is None or winner.data != wire.encode(started):  # ours where only the answer was lost
                log.get().warning("job_started_elsewhere")
                return False
        return True

    async def _attend(self, delivery: Delivery, plan: Plan, stop: asyncio.Event) -> None:
        """Have the job run, keep its message ours meanwhile, and end it as it came out."""
        progress = Progress(self._pace, plan.run.job, width=plan.run.width, height=plan.run.height)
        attempt = Attempt(delivery, plan.run, progress, time.monotonic() + plan.left_s)
        self._attempt = attempt
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep(attempt))
                tasks.create_task(self._tell(attempt))
                tasks.create_task(self._hand_back_in_time(attempt, stop))
                tasks.create_task(self._end_for_hanging_ranks(attempt))
                try:
                    await self._run(attempt, plan)
                finally:
                    attempt.end()
        finally:
            self._attempt = None

    async def _run(self, attempt: Attempt, plan: Plan) -> None:
        if plan.made:
            log.get().info("video_adopted")
            await self._succeed(attempt)
            return
        outcome = await self._desk.run(plan.run, attempt.passed, attempt.failed)
        attempt.came_out.set()
        match outcome:
            case Generated(video_CTHW):
                await self._store(attempt, plan.recipe, video_CTHW)
            case GaveUp(reason):
                await self._give_up(attempt, reason)
            case Left():
                await self._leave(attempt)

    async def _store(self, attempt: Attempt, recipe: str, video_CTHW: torch.Tensor) -> None:
        """Encode the mp4 beside its place, and make it the file of that name unless the job is lost meanwhile."""
        name = video_name(attempt.job_id)
        loop = asyncio.get_running_loop()

        def encode(draft: Path) -> None:
            def on_frame(done: int) -> None:
                loop.call_soon_threadsafe(attempt.progress.at, "store", done / video_CTHW.shape[1])

            write_mp4(video_CTHW, draft, on_frame, recipe=recipe)

        try:
            with self._videos.draft(name) as draft:
                await asyncio.to_thread(encode, draft)
                attempt.progress.end()
                with suppress(Unavailable):  # without a broker the file is safe to make: who comes next adopts it
                    await self._confirm(attempt)
                if not attempt.lost and not await self._videos.publish(draft, name):
                    log.get().warning("video_adopted")
        except OSError as error:
            if not blobs.no_room(error):
                raise
            log.get().error("video_not_stored", error=repr(error))
            await self._give_up(attempt, f"{STORAGE_FULL}: there is no room for the video")
            return
        await (self._leave(attempt) if attempt.lost else self._succeed(attempt))

    async def _leave(self, attempt: Attempt) -> None:
        match attempt.why:
            case "told to stop":
                await self._release(attempt)
            case "timed out":
                limit_s = self._limits.task_timeout_s
                await self._give_up(attempt, f"it ran longer than the {limit_s:g} s that a job may")
            case "taken over":
                log.get().warning("job_taken_over")
            case _:
                await self._finish(attempt.delivery, attempt.job_id)

    # -- while it runs ---------------------------------------------------------------------------------------------

    async def _keep(self, attempt: Attempt) -> None:
        """Keep the message ours while the job moves, and leave the job once it is lost or its time is up."""
        beat_s = self._ack_wait_s / HEARTBEATS_AN_ACK_WAIT
        while not attempt.over.is_set():
            if attempt.still_for_s() < self._limits.stage_timeout_s:
                await attempt.delivery.keep()
            else:
                self._watch.go_down(f"nothing moved in {attempt.progress.stage} for {attempt.still_for_s():.0f} s")
            with suppress(Unavailable):
                await self._confirm(attempt)
            left_s = attempt.deadline - time.monotonic()
            if left_s <= 0:
                self._halt(attempt, "timed out")
            await lifetime.wait(attempt.over, within_s=beat_s if left_s <= 0 else min(beat_s, left_s))

    async def _confirm(self, attempt: Attempt) -> None:
        """Ask the log whether the job is still this attempt's, and leave it where it is not. Raises `Unavailable`."""
        if await self._ending(attempt.job_id) is not None:
            self._halt(attempt, "ended")
        elif _past(await self._last_start(attempt.job_id)).latest > attempt.number:
            self._halt(attempt, "taken over")
        attempt.confirmed = time.monotonic()

    async def _tell(self, attempt: Attempt) -> None:
        """Publish what the attempt reports. A report that cannot be published in time is lost; an ending never is.

        Who has not heard from the log for an `ack_wait` may have slept while another took over, and asks first.
        """
        while not attempt.over.is_set():
            await attempt.news.wait()
            attempt.news.clear()
            while attempt.reports and not attempt.over.is_set():
                report = attempt.reports.popleft()
                try:
                    if time.monotonic() - attempt.confirmed > self._ack_wait_s:
                        await self._confirm(attempt)
                    if not attempt.lost:
                        await self._publish(report, within_s=REPORT_WITHIN_S)
                except Unavailable as error:
                    log.get().warning("report_lost", error=str(error))

    async def _hand_back_in_time(self, attempt: Attempt, stop: asyncio.Event) -> None:
        """Told to stop, leave the job at its next boundary; where that is too far off, hand it back and be gone."""
        while not stop.is_set():
            if await lifetime.first_of(attempt.over, stop) is attempt.over:
                return
        self._halt(attempt, "told to stop")
        if await lifetime.wait(attempt.over, within_s=HAND_BACK_S):
            return
        log.get().warning("left_within_a_step", stage=attempt.progress.stage)
        if self._watch.all_alive:
            await self._release(attempt)
        else:  # torchrun stops the group because a rank has died: that is no release
            await attempt.delivery.hand_back()
        os._exit(1)

    async def _end_for_hanging_ranks(self, attempt: Attempt) -> None:
        """A rank has failed and the others do not come to agree on it: the job ends without them, and so do they."""
        if await lifetime.first_of(attempt.failing, attempt.came_out, attempt.over) is not attempt.failing:
            return
        if await lifetime.wait(attempt.came_out, within_s=AGREE_WITHIN_S) or attempt.words is None:
            return
        try:
            if self._watch.all_alive:
                await self._give_up(attempt, attempt.words.reason)
        finally:
            self._watch.go_down("a rank failed inside a collective")

    async def _on_cancelled(self, subject: str, _payload: bytes) -> None:
        attempt = self._attempt
        if attempt is not None and subjects.job_id_of(subject) == attempt.job_id:
            self._halt(attempt, "ended")

    def _halt(self, attempt: Attempt, why: Why) -> None:
        if attempt.halt(why):
            log.get().info("job_halted", why=why)
            self._desk.halt()

    # -- endings ---------------------------------------------------------------------------------------------------

    async def _succeed(self, attempt: Attempt) -> None:
        name = video_name(attempt.job_id)
        async with self._videos.local(name) as path:
            size_bytes, sha256 = await asyncio.to_thread(_digest, path)
            facts = await asyncio.to_thread(probe, path)
        ending = JobSucceeded(
            job_id=attempt.job_id,
            at=time.time(),
            attempt=attempt.number,
            instance=self._instance,
            video_url=video_url(attempt.job_id),
            video_path=video_path(attempt.job_id),
            width=facts.width,
            height=facts.height,
            num_frames=facts.num_frames,
            duration=facts.duration,
            size_bytes=size_bytes,
            sha256=sha256,
            seed=attempt.job.seed,
        )
        winner = await self._end(ending)
        if not isinstance(winner, JobSucceeded):
            await self._videos.delete(name)
        await self._finish(attempt.delivery, attempt.job_id)

    async def _give_up(self, attempt: Attempt, reason: str) -> None:
        await self._fail(attempt.delivery, attempt.job_id, attempt.number, reason)

    async def _fail(self, delivery: Delivery, job_id: str, attempt: int, reason: str) -> None:
        await self._end(
            JobFailed(job_id=job_id, at=time.time(), attempt=attempt, instance=self._instance, reason=reason)
        )
        await self._finish(delivery, job_id)

    async def _release(self, attempt: Attempt) -> None:
        released = JobReleased(job_id=attempt.job_id, at=time.time(), attempt=attempt.number, instance=self._instance)
        await self._publish(released, within_s=REPORT_WITHIN_S)
        await attempt.delivery.hand_back()
        log.get().info("job_released")

    async def _end(self, ending: Ending) -> Ending | None:
        """Publish an ending, and return the one that the job has: ours, or the one that was first."""
        expect = Expect(0, subjects.endings_of(ending.job_id))
        try:
            await self._publish(ending, expect=expect)
        except WrongSequence:  # somebody else's, or ours whose acknowledgement was lost
            winner = await self._ending(ending.job_id)
        else:
            winner = ending
        log.get().info("job_ended", ending=type(winner).__name__, ours=winner == ending)
        return winner

    async def _finish(self, delivery: Delivery, job_id: str) -> None:
        """The ending is stored: the message may go, and what only the job needed."""
        await delivery.acknowledge()
        with suppress(ValueError):  # an id that is no file name never had an input
            await self._scratch.delete(input_name(job_id))

    async def _ending(self, job_id: str) -> Ending | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
        return None if stored is None else wire.ending_in(stored)

    async def _last_start(self, job_id: str) -> Stored | None:
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id))

    async def _is_made(self, name: str, recipe: str) -> bool:
        """Whether the file is there, and made by this recipe. Any other makes way.

        There may be one: an idempotency key that is used again when the log has forgotten its job gives the same id.
        """
        try:
            async with self._videos.local(name) as path:
                found = (await asyncio.to_thread(probe, path)).recipe
        except FileNotFoundError:
            return False
        except ValueError:  # no video at all
            found = None
        if found != recipe:
            log.get().warning("stale_video_removed")
            await self._videos.delete(name)
        return found == recipe

    async def _publish(self, event: Event, *, expect: Expect | None = None, within_s: float = PUBLISH_WITHIN_S) -> None:
        await self._broker.publish(
            subjects.event(event),
            wire.encode(event),
            message_id=subjects.message_id(event),
            expect=expect,
            within_s=within_s,
        )

    # -- the cluster -----------------------------------------------------------------------------------------------

    async def _heartbeat(self, stop: asyncio.Event) -> None:
        """Say that the cluster lives, what it can do and what it does; at the end, that it is gone."""
        while not stop.is_set():
            jobs = [] if self._attempt is None else [self._attempt.job_id]
            beat = replace(self._cluster, at=time.time(), current_jobs=jobs)
            with suppress(Unavailable):
                await self._broker.put_last(subjects.CLUSTERS_BUCKET, self._instance, wire.encode(beat))
            await lifetime.wait(stop, within_s=HEARTBEAT_S)
        with suppress(Unavailable):
            await self._broker.put_last(subjects.CLUSTERS_BUCKET, self._instance, b"")


def _past(*stored: Stored | None) -> Past:
    return past(wire.readable_events(message for message in stored if message is not None))


def _submitted(job_id: str, data: bytes) -> JobSubmitted:
    """The job in a message; one that speaks of another than its subject is none. Raises `Hopeless`."""
    try:
        submitted = wire.decode_submission(data)
    except wire.Undecodable as error:
        log.get().error("job_undecodable", error=str(error))
        raise Hopeless(UNREADABLE) from error
    if submitted.job_id != job_id:
        log.get().error("job_undecodable", error=f"it speaks of job {submitted.job_id}")
        raise Hopeless(UNREADABLE)
    return submitted


def _recipe(job: Job, png: bytes) -> str:
    """What the video is made of, as a digest that its file carries."""
    return hashlib.sha256(msgspec.json.encode(job) + png).hexdigest()


def _prepare(submitted: JobSubmitted, attempt: int, png: bytes, cluster: ClusterStatus) -> Run:
    """The command for a job, its picture scaled to cover the video's size and cropped at the centre."""
    job, job_id = submitted.job, submitted.job_id
    plan = plan_of(job, cluster) or cluster.plan  # none where a video is adopted that this cluster could not make
    try:
        picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a damaged file
        log.get().error("input_unreadable", error=repr(error))
        raise Hopeless("the input image is damaged") from error
    width, height = output_size(job.image_size or cluster.default_size, job.keep_aspect, picture.width, picture.height)
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    rgb = fitted.tobytes()
    return Run(job_id=job_id, attempt=attempt, job=job, plan=plan, width=width, height=height, rgb=rgb)


def _digest(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256
