"""Prepare the next attempt at a job, and claim the job for it in the log.

`Leader` calls `prepare` with the message of a job; in come its log, its picture, its checkpoint and its video, out goes
a `PreparedAttempt` with the ranks' command. `AttemptRunner` then calls `publish_start`, which publishes `started` by
compare-and-set: of two clusters that prepared the same attempt, one gets the job.
"""

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
from contracts.cluster import ClusterStatus, objections, plan_on_cluster
from contracts.events import JobStarted, JobSubmitted
from contracts.job import AUTO, Job, cropped_share, input_name, nearest_size, output_size
from contracts.job_log import JobLog
from contracts.process import log
from contracts.stores import Store
from inference.leader.attempt_history import history_of
from inference.leader.attempt_policy import Fail, JobFacts, decide_begin_or_fail
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_videos import JobVideos
from inference.leader.last_start import last_start
from inference.leader.limits import Limits
from inference.ranks.commands import EncodedSnapshot, Run

UNREADABLE = "the job could not be read"
UNKNOWN_CHARS_MAX = 500


class CannotRun(Exception):
    """No cluster can run the job; the text is safe to show."""


class Unknown(Exception):
    """The job has a field or a value that this version does not know, because a newer edge has accepted it.

    A newer cluster can run it. The text names the field or value, and is safe to show.
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
    """Prepares and claims attempts for one cluster; one for the life of the process.

    Every method raises `Unavailable` if the broker does not answer in time, and `OSError` if a store fails.
    """

    def __init__(
        self,
        job_log: JobLog,
        *,
        videos: JobVideos,
        scratch: Store,
        checkpoints: JobCheckpoints,
        cluster: ClusterStatus,
        limits: Limits,
    ) -> None:
        self._job_log, self._videos, self._scratch, self._checkpoints = job_log, videos, scratch, checkpoints
        self._cluster, self._limits = cluster, limits

    async def prepare(self, job_id: str, data: bytes) -> PreparedAttempt:
        """Return the next attempt at the job whose message has this `data`. Publishes nothing.

        Raises `CannotRun` if the job is to fail instead, and `Unknown` if only a newer version could run it.
        """
        began = time.monotonic()
        submitted = _decode_submission(job_id, data)
        png = await self._scratch.read(input_name(job_id, submitted.input_tag))
        job_fingerprint = _fingerprint_of(submitted.job, png or b"", self._cluster.weights)
        video_exists = png is not None and await self._videos.exists(job_id, job_fingerprint)
        last = await last_start(self._job_log, job_id)
        history = history_of([*await self._job_log.events(job_id), *last.events])
        snapshot = None if video_exists else await self._checkpoints.latest(job_id, job_fingerprint)
        facts = JobFacts(
            history=history,
            last_start_sequence=last.sequence,
            has_input=png is not None,
            video_exists=video_exists,
            checkpoint_step=0 if snapshot is None else snapshot.step,
            objections=[objection.message for objection in objections(submitted.job, [self._cluster])],
        )
        act = decide_begin_or_fail(facts, max_attempts=self._limits.max_attempts)
        if isinstance(act, Fail):
            raise CannotRun(act.reason)
        assert png is not None
        run, cropped = await asyncio.to_thread(_build_run, submitted, act.attempt, png, self._cluster, snapshot)
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

    async def publish_start(self, prepared: PreparedAttempt, progress: float) -> bool:
        """Publish `started` for the attempt, at this progress (0 to 1).

        Return False if another cluster was first and has the job.
        """
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
        return await self._job_log.append(started, expect=prepared.expect)


def _decode_submission(job_id: str, data: bytes) -> JobSubmitted:
    """Decode the job in a message.

    Raises `CannotRun` if the bytes are no job or belong to another job, and `Unknown` if a newer version wrote them. An
    unknown field is refused like an unknown value: to run the job without that field would make another video.
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


def _fingerprint_of(job: Job, png: bytes, weights: str) -> str:
    """Return the SHA-256, in hexadecimal, of all that the video is made of: the job, its picture and the weights."""
    return hashlib.sha256(msgspec.json.encode([job, weights]) + png).hexdigest()


def _build_run(
    submitted: JobSubmitted, attempt: int, png: bytes, cluster: ClusterStatus, snapshot: EncodedSnapshot | None
) -> tuple[Run, float]:
    """Return the ranks' command for an attempt, and the share (0 to 1) of the picture that is cut off.

    The picture is scaled to cover the video's size and cropped at the centre; a job of size `auto` gets the cluster's
    size that fits the picture best. Raises `CannotRun` if the picture is damaged or has too many pixels for Pillow.
    """
    job, job_id = submitted.job, submitted.job_id
    plan = plan_on_cluster(job, cluster) or cluster.plan  # None if a video is adopted that this cluster could not make
    try:
        picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # all that Pillow raises here
        log.get().error("input_unreadable", error=repr(error))
        raise CannotRun("the input image is damaged") from error
    size = job.image_size or cluster.default_size
    if size == AUTO:
        size = nearest_size(cluster.sizes, cluster.default_size, *picture.size)
        job = replace(job, image_size=size)  # the shift, which depends on the size, depends on this one
    width, height = output_size(size, job.keep_aspect, *picture.size)
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    rgb = fitted.tobytes()
    run = Run(
        job_id=job_id, attempt=attempt, job=job, plan=plan, width=width, height=height, rgb=rgb, snapshot=snapshot
    )
    return run, cropped_share(width, height, *picture.size)
