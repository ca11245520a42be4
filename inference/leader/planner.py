"""Prepare the next attempt at a job, and claim the job for it in the log.

`Leader` calls `prepare` with the message of a job; in come its log, its picture, its checkpoint and its video, out goes
a `PreparedAttempt` with the ranks' command. `AttemptRunner` then calls `publish_start`, which publishes `started` by
compare-and-set: of two clusters that prepared the same attempt, one gets the job.
"""

import asyncio
import hashlib
import io
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from PIL import Image, ImageOps

from contracts.broker import Expect
from contracts.cluster import ClusterStatus, objections, plan_on_cluster
from contracts.events import JobStarted, JobSubmitted
from contracts.job import AUTO, Job, cropped_share, input_name, nearest_size, output_size
from contracts.job_log import JobLog
from contracts.process import log, tracing
from contracts.stores import Store
from inference.leader.attempt_history import history_of
from inference.leader.attempt_policy import Begin, Fail, JobFacts, LeaveToAnother, decide_next_move
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_message import JobMustFail, decode_submission
from inference.leader.job_videos import JobVideos
from inference.leader.last_start import last_start
from inference.leader.limits import Limits
from inference.ranks.commands import EncodedSnapshot, Run


class LeftToAnother(Exception):
    """A live cluster other than this one can run the job, because its cards are larger, for example."""


class PreparedAttempt(Struct, frozen=True):
    """The next attempt at a job, with all that the ranks need for it.

    `expect` is the `started` before it, as a compare-and-set of the log demands. `left_s` are the seconds that the job
    may still run. `job_fingerprint` tells its video from any other; `video_exists` says that an earlier attempt stored
    that video. `load_s` are the seconds that the preparation took, `cropped` the share of the picture that is cut off,
    `first_start_at` is when the first attempt began, in Unix seconds, None if this attempt is the first.
    """

    submitted: JobSubmitted
    run: Run
    expect: Expect
    left_s: float
    job_fingerprint: str
    video_exists: bool
    load_s: float
    cropped: float
    first_start_at: float | None = None


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
        clusters: Callable[[], Awaitable[list[ClusterStatus]]],
        limits: Limits,
    ) -> None:
        self._job_log, self._videos, self._scratch, self._checkpoints = job_log, videos, scratch, checkpoints
        self._cluster, self._clusters, self._limits = cluster, clusters, limits

    async def prepare(self, job_id: str, data: bytes) -> PreparedAttempt:
        """Return the next attempt at the job whose message has this `data`. Publishes nothing.

        Raises `JobMustFail` if the job is to fail instead, `LeftToAnother` if another cluster is to run it, and
        `UnknownToThisVersion` if only a newer version could.
        """
        began = time.monotonic()
        submitted = decode_submission(job_id, data)
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
            another_can=await self._only_another_can(submitted.job),
        )
        begin = _begin_or_raise(facts, self._limits.max_attempts)
        assert png is not None
        run, cropped = await asyncio.to_thread(_build_run, submitted, begin.attempt, png, self._cluster, snapshot)
        return PreparedAttempt(
            submitted=submitted,
            run=run,
            expect=Expect(begin.after),
            left_s=self._limits.task_timeout_s - history.spent_s,
            job_fingerprint=job_fingerprint,
            video_exists=video_exists,
            load_s=time.monotonic() - began,
            cropped=cropped,
            first_start_at=history.first_start_at,
        )

    async def _only_another_can(self, job: Job) -> bool:
        """Return whether this cluster cannot run the job, and another live one can."""
        if not objections(job, [self._cluster]):
            return False
        others = [cluster for cluster in await self._clusters() if cluster.instance != self._cluster.instance]
        return any(not objections(job, [other]) for other in others)

    async def publish_start(self, prepared: PreparedAttempt, progress: float, eta_seconds: float | None) -> bool:
        """Publish `started` for the attempt, at this progress (0 to 1), and with how long it is expected to take.

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
            eta_seconds=eta_seconds,
            model=self._cluster.model,
        )
        return await self._job_log.append(started, expect=prepared.expect)


def _begin_or_raise(facts: JobFacts, max_attempts: int) -> Begin:
    """Return the attempt to begin, by `decide_next_move`. Raises `JobMustFail` or `LeftToAnother` if there is none."""
    match decide_next_move(facts, max_attempts=max_attempts):
        case Begin() as begin:
            return begin
        case Fail(reason):
            raise JobMustFail(reason)
        case LeaveToAnother():
            raise LeftToAnother


def _fingerprint_of(job: Job, png: bytes, weights: str) -> str:
    """Return the SHA-256, in hexadecimal, of all that the video is made of: the job, its picture and the weights."""
    return hashlib.sha256(msgspec.json.encode([job, weights]) + png).hexdigest()


def _build_run(
    submitted: JobSubmitted, attempt: int, png: bytes, cluster: ClusterStatus, snapshot: EncodedSnapshot | None
) -> tuple[Run, float]:
    """Return the ranks' command for an attempt, and the share (0 to 1) of the picture that is cut off.

    The picture is scaled to cover the video's size and cropped at the centre; a job of size `auto` gets the cluster's
    size that fits the picture best. Raises `JobMustFail` if the picture is damaged or has too many pixels for Pillow.
    """
    job, job_id = submitted.job, submitted.job_id
    plan = plan_on_cluster(job, cluster) or cluster.plan  # None if a video is adopted that this cluster could not make
    try:
        picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # all that Pillow raises here
        log.get().error("input_unreadable", error=repr(error))
        raise JobMustFail("the input image is damaged") from error
    size = job.image_size or cluster.default_size
    if size == AUTO:
        size = nearest_size(cluster.sizes, cluster.default_size, *picture.size)
        job = replace(job, image_size=size)  # the shift, which depends on the size, depends on this one
    width, height = output_size(size, job.keep_aspect, *picture.size)
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    rgb = fitted.tobytes()
    run = Run(
        job_id=job_id,
        attempt=attempt,
        job=job,
        plan=plan,
        width=width,
        height=height,
        rgb=rgb,
        snapshot=snapshot,
        trace_id=tracing.current().trace_id,
    )
    return run, cropped_share(width, height, *picture.size)
