"""What the next attempt at a job would be, and the word in the log that it is ours. Knows no rank and no ending."""

import asyncio
import hashlib
import io
import time

import msgspec
from msgspec import Struct
from PIL import Image, ImageOps

from contracts import log, wire
from contracts.blobs import Store
from contracts.bus import Expect, WrongSequence
from contracts.cluster import ClusterStatus, objections, plan_of
from contracts.events import JobStarted, JobSubmitted
from contracts.job import Job, input_name, output_size, video_name
from contracts.record import video_record_name
from inference.checkpoints import Checkpoints
from inference.commands import Resumed, Run
from inference.decisions import GiveUp, Known, next_move
from inference.journal import Journal
from inference.video import probe

UNREADABLE = "the job could not be read"


class Limits(Struct, frozen=True):
    """What a job may use up: seconds over all its attempts, and attempts that were not handed back.

    A stage, or one step of `denoise`, may take `stage_timeout_s` before the ranks count as hanging; less where it was
    measured before, but at least `stage_floor_s`. None is begun without `room_bytes` free where the videos are.
    """

    task_timeout_s: float
    stage_timeout_s: float
    stage_floor_s: float
    room_bytes: int
    max_attempts: int


class Hopeless(Exception):
    """The job cannot be run, here or anywhere; the text is safe to show."""


class Planned(Struct, frozen=True):
    """The next attempt at a job, the `started` before it, and the seconds that the job may still run.

    `recipe` tells its video from any other; `made` where an attempt before this one came as far as the file. `load_s`
    is what it took to find all this out.
    """

    submitted: JobSubmitted
    run: Run
    expect: Expect
    left_s: float
    recipe: str
    made: bool
    load_s: float


class Claims:
    def __init__(
        self,
        journal: Journal,
        *,
        videos: Store,
        scratch: Store,
        checkpoints: Checkpoints,
        cluster: ClusterStatus,
        limits: Limits,
    ) -> None:
        self._journal, self._videos, self._scratch, self._checkpoints = journal, videos, scratch, checkpoints
        self._cluster, self._limits = cluster, limits

    async def plan(self, job_id: str, data: bytes) -> Planned:
        """What the next attempt at the job would be. Raises `Hopeless`."""
        began = time.monotonic()
        submitted = _submitted(job_id, data)
        png = await self._scratch.read(input_name(job_id))
        recipe = _recipe(submitted.job, png or b"", self._cluster.weights)
        made = png is not None and await self._is_made(job_id, recipe)
        past, last = await self._journal.past(job_id)
        resumed = None if made else await self._checkpoints.latest(job_id, recipe)
        known = Known(
            past=past,
            last_start=0 if last is None else last.sequence,
            has_input=png is not None,
            made=made,
            checkpoint_step=0 if resumed is None else resumed.step,
            wrong=[objection.message for objection in objections(submitted.job, [self._cluster])],
        )
        move = next_move(known, max_attempts=self._limits.max_attempts)
        if isinstance(move, GiveUp):
            raise Hopeless(move.reason)
        assert png is not None
        run = await asyncio.to_thread(_prepare, submitted, move.attempt, png, self._cluster, resumed)
        return Planned(
            submitted=submitted,
            run=run,
            expect=Expect(move.after),
            left_s=self._limits.task_timeout_s - past.spent_s,
            recipe=recipe,
            made=made,
            load_s=time.monotonic() - began,
        )

    async def claim(self, planned: Planned, progress: float) -> bool:
        """Publish `started` as the next attempt. False where another cluster was first: the job is theirs."""
        run = planned.run
        started = JobStarted(
            job_id=run.job_id,
            at=time.time(),
            attempt=run.attempt,
            instance=self._cluster.instance,
            width=run.width,
            height=run.height,
            num_frames=run.job.num_frames,
            plan=run.plan,
            resumed_from_step=run.resumed_from_step,
            progress=progress,
        )
        try:
            await self._journal.write(started, expect=planned.expect)
        except WrongSequence:
            winner = await self._journal.last_start(run.job_id)
            return winner is not None and winner.data == wire.encode(started)  # ours where only the answer was lost
        return True

    async def make_way(self, job_id: str, recipe: str) -> None:
        """Remove a video of the job's id that another recipe made, and its record first.

        There may be one: of an attempt under other weights that died before its ending, or of an earlier job with the
        same id, under an idempotency key that is used again when the log has forgotten its job. It goes when the new
        one is ready to take its place, and not before: whoever made it may only be slow, and about to end the job.
        """
        if not await self._is_made(job_id, recipe):
            log.get().warning("stale_video_removed")
            await self._videos.delete(video_record_name(job_id))
            await self._videos.delete(video_name(job_id))

    async def _is_made(self, job_id: str, recipe: str) -> bool:
        """Whether the video is there, and made by this recipe."""
        try:
            async with self._videos.local(video_name(job_id)) as path:
                return (await asyncio.to_thread(probe, path)).recipe == recipe
        except (FileNotFoundError, ValueError):  # ValueError: no video at all
            return False


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


def _recipe(job: Job, png: bytes, weights: str) -> str:
    """What the video is made of, and by which weights, as a digest that its file carries."""
    return hashlib.sha256(msgspec.json.encode([job, weights]) + png).hexdigest()


def _prepare(submitted: JobSubmitted, attempt: int, png: bytes, cluster: ClusterStatus, resumed: Resumed | None) -> Run:
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
    return Run(job_id=job_id, attempt=attempt, job=job, plan=plan, width=width, height=height, rgb=rgb, resumed=resumed)
