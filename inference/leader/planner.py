"""What the next attempt at a job would be, and the word in the log that it is ours. Knows no rank and no ending."""

import asyncio
import hashlib
import io
import time

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from PIL import Image, ImageOps

from contracts import wire
from contracts.broker import Expect
from contracts.cluster import ClusterStatus, objections, plan_of
from contracts.events import JobStarted, JobSubmitted
from contracts.job import AUTO, Job, cropped_share, input_name, nearest_size, output_size, video_name
from contracts.job_log import JobLog, logged
from contracts.process import log
from contracts.record import video_record_name
from contracts.stores import Store
from inference.leader.attempt_history import history_of
from inference.leader.attempt_policy import Fail, JobFacts, decide
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.mp4 import probe
from inference.ranks.commands import EncodedSnapshot, Run

UNREADABLE = "the job could not be read"
UNKNOWN_CHARS_MAX = 500


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


class CannotRun(Exception):
    """The job cannot be run, here or anywhere; the text is safe to show."""


class Unknown(Exception):
    """A newer edge has accepted the job: it has a field or a value that this version does not know.

    Not hopeless, since a newer cluster can run it. The text says which, and is safe to show.
    """


class PreparedAttempt(Struct, frozen=True):
    """The next attempt at a job, with all that the ranks need for it.

    `expect` is the `started` before it, as a compare-and-set of the log demands. `left_s` are the seconds that the job
    may still run. `job_fingerprint` tells its video from any other; `video_exists` says that an earlier attempt stored
    that video. `load_s` are the seconds that the preparation took, `cropped` the share of the picture that is cut off.
    """

    submitted: JobSubmitted
    run: Run
    expect: Expect
    left_s: float
    job_fingerprint: str
    video_exists: bool
    load_s: float
    cropped: float


class AttemptPlanner:
    def __init__(
        self,
        job_log: JobLog,
        *,
        videos: Store,
        scratch: Store,
        checkpoints: JobCheckpoints,
        cluster: ClusterStatus,
        limits: Limits,
    ) -> None:
        self._log, self._videos, self._scratch, self._checkpoints = job_log, videos, scratch, checkpoints
        self._cluster, self._limits = cluster, limits

    async def prepare(self, job_id: str, data: bytes) -> PreparedAttempt:
        """Return what the next attempt at the job would be. Raises `CannotRun` or `Unknown`."""
        began = time.monotonic()
        submitted = _submitted(job_id, data)
        png = await self._scratch.read(input_name(job_id, submitted.input_tag))
        job_fingerprint = _fingerprint(submitted.job, png or b"", self._cluster.weights)
        video_exists = png is not None and await self.is_video_made(job_id, job_fingerprint)
        last = await self._log.last_start(job_id)
        history = history_of([*await self._log.events(job_id), *logged([] if last is None else [last])])
        snapshot = None if video_exists else await self._checkpoints.latest(job_id, job_fingerprint)
        facts = JobFacts(
            history=history,
            last_start=0 if last is None else last.sequence,
            has_input=png is not None,
            video_exists=video_exists,
            checkpoint_step=0 if snapshot is None else snapshot.step,
            objections=[objection.message for objection in objections(submitted.job, [self._cluster])],
        )
        act = decide(facts, max_attempts=self._limits.max_attempts)
        if isinstance(act, Fail):
            raise CannotRun(act.reason)
        assert png is not None
        run, cropped = await asyncio.to_thread(_prepare, submitted, act.attempt, png, self._cluster, snapshot)
        return PreparedAttempt(
            submitted=submitted,
            run=run,
            expect=Expect(act.after),
            left_s=self._limits.task_timeout_s - history.spent_s,
            job_fingerprint=job_fingerprint,
            video_exists=video_exists,
            load_s=time.monotonic() - began,
            cropped=cropped,
        )

    async def claim(self, prepared: PreparedAttempt, progress: float) -> bool:
        """Publish `started` as the next attempt. False if another cluster was first: the job is theirs."""
        run = prepared.run
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
            cropped=prepared.cropped,
        )
        return await self._log.append(started, expect=prepared.expect)

    async def is_video_made(self, job_id: str, job_fingerprint: str) -> bool:
        """Return whether the job's video is stored and carries this fingerprint.

        A video with another fingerprint may be stored: an attempt under other weights died before its ending, or an
        earlier job had the same id, because its idempotency key was used again after the log forgot the job. That video
        stays until the new one is ready: the attempt that made it may only be slow, and about to end the job.
        """
        try:
            async with self._videos.local(video_name(job_id)) as path:
                return (await asyncio.to_thread(probe, path)).fingerprint == job_fingerprint
        except (FileNotFoundError, ValueError):  # ValueError: no video at all
            return False

    async def remove_video(self, job_id: str) -> None:
        """Make way for the job's video, if another is in its place; that one's record goes first."""
        log.get().warning("stale_video_removed")
        await self._videos.delete(video_record_name(job_id))
        await self._videos.delete(video_name(job_id))


def _submitted(job_id: str, data: bytes) -> JobSubmitted:
    """Decode the job in a message. Raises `CannotRun` if it is none, or another's, and `Unknown` if it is a newer one.

    A field that is not known counts as a value that is not: to run the job without it would make another video.
    """
    try:
        head, unknown = wire.decode_head(data), wire.unknown_fields(data)
    except wire.Undecodable as error:
        log.get().error("job_undecodable", error=str(error))
        raise CannotRun(UNREADABLE) from error
    if head.job_id != job_id:
        log.get().error("job_undecodable", error=f"it speaks of job {head.job_id}")
        raise CannotRun(UNREADABLE)
    if unknown:
        raise Unknown(", ".join(unknown)[:UNKNOWN_CHARS_MAX])
    try:
        return wire.decode_submission(data)
    except wire.Undecodable as error:
        raise Unknown(str(error)[:UNKNOWN_CHARS_MAX]) from error


def _fingerprint(job: Job, png: bytes, weights: str) -> str:
    """What the video is made of, and by which weights, as a digest that its file carries."""
    return hashlib.sha256(msgspec.json.encode([job, weights]) + png).hexdigest()


def _prepare(
    submitted: JobSubmitted, attempt: int, png: bytes, cluster: ClusterStatus, snapshot: EncodedSnapshot | None
) -> tuple[Run, float]:
    """The command for a job, its picture scaled to cover the video's size and cropped at the centre; and what share."""
    job, job_id = submitted.job, submitted.job_id
    plan = plan_of(job, cluster) or cluster.plan  # none where a video is adopted that this cluster could not make
    try:
        picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a damaged file
        log.get().error("input_unreadable", error=repr(error))
        raise CannotRun("the input image is damaged") from error
    size = job.image_size or cluster.default_size
    if size == AUTO:
        size = nearest_size(cluster.sizes, cluster.default_size, *picture.size)
        job = replace(job, image_size=size)  # what else goes by the size, as the shift does, goes by this one
    width, height = output_size(size, job.keep_aspect, *picture.size)
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    rgb = fitted.tobytes()
    run = Run(
        job_id=job_id, attempt=attempt, job=job, plan=plan, width=width, height=height, rgb=rgb, snapshot=snapshot
    )
    return run, cropped_share(width, height, *picture.size)
