"""Say of a job at its end what it was and where its time went: in its ending, and in one line, `job_ended`.

Whoever publishes the ending does both: rank 0, or the edge for a job that a client cancelled or deleted. In the line
stand numbers and names, and nothing that a client has written.
"""

from msgspec import Struct, structs

from contracts.bounds import SECONDS_MAX
from contracts.events import AnyEnding, Ending, JobCancelled, JobFailed, JobSubmitted, JobSucceeded
from contracts.plan import Plan
from contracts.process import log

SECONDS_DIGITS = 3


class Known(Struct, frozen=True, kw_only=True):
    """The facts about a job that its ending does not say; None for what whoever ends the job does not know.

    `size` is `W*H`, `attempts` counts those that began, `waited_s` are the seconds from submission to the first start.
    """

    submitted: JobSubmitted | None = None
    model: str | None = None
    size: str | None = None
    plan: Plan | None = None
    attempts: int | None = None
    waited_s: float | None = None


def standing_alone(ending: Ending, known: Known) -> Ending:
    """Return the ending with what was asked for, and with the job's times, as far as they are known.

    A job that never started (`attempts` is 0) has waited until its end.
    """
    if (submitted := known.submitted) is None:
        return ending
    total_s = ending.at - submitted.created_at
    queue_s = total_s if known.attempts == 0 else known.waited_s
    return structs.replace(
        ending,
        job=submitted.job,
        metadata=submitted.metadata,
        queue_seconds=_bounded(queue_s),
        run_seconds=None if queue_s is None else _bounded(total_s - max(0.0, queue_s)),
    )


def log_ended(ending: AnyEnding, known: Known, *, ours: bool) -> None:
    """Log how a job has ended, a failure as a warning with its reason.

    `ours` is False if the job had another ending already, which somebody else has logged. What is not known is null.
    """
    submitted, made = known.submitted, ending if isinstance(ending, JobSucceeded) else None
    failed = isinstance(ending, JobFailed)
    job, created_at = (None, None) if submitted is None else (submitted.job, submitted.created_at)
    timings = {} if made is None or made.timings is None else structs.asdict(made.timings)
    log.line(
        "job_ended",
        level="warning" if failed else "info",
        job_id=ending.job_id,
        ending=type(ending).__name__,
        ours=ours,
        reason=ending.reason if failed else None,
        model=known.model,
        size=known.size or (job and job.image_size),
        num_frames=job and job.num_frames,
        steps=job and job.infer_steps,
        plan=None if known.plan is None else in_words(known.plan),
        attempts=known.attempts if isinstance(ending, JobCancelled) else getattr(ending, "attempt", known.attempts),
        waited_s=_rounded(known.waited_s),
        total_s=None if created_at is None else _rounded(ending.at - created_at),
        load_s=timings.get("load"),
        encode_s=timings.get("encode"),
        denoise_s=timings.get("denoise"),
        decode_s=timings.get("decode"),
        mux_s=timings.get("mux"),
        store_s=timings.get("store"),
        bytes=None if made is None else made.size_bytes,
    )


def in_words(plan: Plan) -> str:
    """Return a plan as the setting `PLAN` has it, such as `cfg=2,ulysses=4,vae_parallel`."""
    flags = [name for name in ("dit_fsdp", "t5_fsdp", "vae_parallel") if getattr(plan, name)]
    return ",".join([f"cfg={plan.cfg_size}", f"ulysses={plan.ulysses_size}", *flags])


def _bounded(seconds: float | None) -> float | None:
    """Return seconds as `_rounded` does, and as an event may have them."""
    return None if seconds is None else _rounded(min(seconds, SECONDS_MAX))


def _rounded(seconds: float | None) -> float | None:
    """Return seconds to the millisecond, and none below 0: the clocks of two hosts may differ."""
    return None if seconds is None else round(max(0.0, seconds), SECONDS_DIGITS)
