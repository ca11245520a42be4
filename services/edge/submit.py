"""Accept a submission: read its body, find the job that it means, check it, get its image, and publish the job.

The routes call this with the pieces of a request's body and get the job's id back. Every refusal is an exception
of `errors`. A refused submission leaves nothing stored; one of unknown outcome leaves its input.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from mmap import mmap

from msgspec import Struct
from msgspec.structs import replace

from contracts.cluster import ClusterStatus, auto_size_for_all, objections
from contracts.job import AUTO, JobRequest, parse_size
from contracts.process import log, tracing
from contracts.tenant import Tenant
from services.edge.auth.caller import Caller
from services.edge.body.bodies import Content, Submission
from services.edge.body.idempotency import Asked, Identity, key_in
from services.edge.context import Edge
from services.edge.errors import Busy, ImageRefused, Invalid, Overloaded
from services.edge.identities import Attempt
from services.edge.image.data_uri import is_inline
from services.edge.image.late_fetcher import BeforeRequest
from services.edge.image.normalise import png_size
from services.edge.image.picture.shrink import COVER_PX_MIN
from services.edge.resources.spool import Spool

REFUSALS = (Invalid, ImageRefused, Busy, Overloaded)
"""The refusals that another try of the same request may have brought about, by being accepted."""


class Receipt(Struct, frozen=True):
    """The id of an accepted job. `is_replay` says that an earlier submission of the same request made the job."""

    job_id: str
    is_replay: bool = False


async def accept_submission(
    edge: Edge, content: Content, caller: Caller, key_header: str | None, *, attempt: Attempt | None = None
) -> Receipt:
    """Turn a request's body into an accepted job of the caller's. `key_header` is its `Idempotency-Key`, or None.

    `attempt` is that of a client which may repeat the request without a key. The steps: parse, identify, is it a
    repeat, objections, room, image, publish. Each one may end the submission.

    Raises `Invalid`, `ImageRefused`, `KeyReused`, `Busy`, `Overloaded`, `OutcomeUnknown`, `Unavailable` or `OSError`.
    """
    with edge.bodies.spool() as body, edge.bodies.spool() as uri, edge.bodies.spool() as png:
        submission = await edge.bodies.read(content, body, uri)
        identity = await identified(edge, submission, caller, key_header, attempt)
        try:
            return await unless_repeat(edge, identity, lambda: _accepted_anew(edge, submission, identity, caller, png))
        except ImageRefused as refusal:
            refusal.field = content.dialect.parts.picture if submission.picture is not None else refusal.field
            raise


async def unless_repeat(edge: Edge, identity: Identity, accept: Callable[[], Awaitable[Receipt]]) -> Receipt:
    """Return the receipt of the job that the same request made before, or else what `accept` returns.

    A refusal counts only if there still is no such job after it: while this request was worked on, another try of it
    may have taken the last place, or a picture that can be fetched once. Raises what `accept` and `Jobs.is_repeat` do.
    """
    if await edge.jobs.is_repeat(identity):
        return Receipt(identity.job_id, is_replay=True)
    try:
        return await accept()
    except REFUSALS:
        if await edge.jobs.is_repeat(identity):
            return Receipt(identity.job_id, is_replay=True)
        raise


async def _accepted_anew(edge: Edge, submission: Submission, identity: Identity, caller: Caller, png: Spool) -> Receipt:
    """Check a submission, get its image into `png`, and publish its job. Raises as `accept_submission` does."""
    clusters = await edge.jobs.clusters()
    wrong = objections(submission.request, clusters) + await edge.webhooks.objections(submission.request)
    if wrong:
        raise Invalid(wrong)
    tenant = edge.tenant_of(caller)
    room = partial(edge.jobs.check_for_room, tenant, identity.job_id)
    await _fetch_and_normalise_image(edge, submission, png, _longest_side(clusters), before_work=room)
    async with edge.bodies.memory.claim(png.size_bytes):
        with png.mapped() as png_bytes:
            request = _with_auto_size_resolved(submission.request, clusters, png_bytes)
            return await enqueued(edge, request, png_bytes, identity, tenant)


async def identified(
    edge: Edge, asked: Asked, caller: Caller, key_header: str | None, attempt: Attempt | None
) -> Identity:
    """Return the job that a request means, whose id log lines then carry. Raises `Invalid` or `Unavailable`."""
    key = None if key_header is None else key_in(key_header)
    identity = await edge.identities.identify(asked, tenant=caller.tenant, key=key, attempt=attempt)
    log.bind(job_id=identity.job_id)
    tracing.current().note({tracing.JOB_ID: identity.job_id})
    return identity


async def enqueued(
    edge: Edge,
    request: JobRequest,
    png: bytes | mmap,
    identity: Identity,
    tenant: Tenant,
    *,
    remixed_from: str | None = None,
) -> Receipt:
    """Publish a tenant's job whose image is at hand, and return its receipt. Raises as `accept_submission` does."""
    is_first = await edge.jobs.store_input_and_enqueue(request, png, identity, tenant, remixed_from=remixed_from)
    # Another submission of the same id was published meanwhile: is it the same request?
    is_replay = not is_first and await edge.jobs.is_repeat(identity)
    return Receipt(identity.job_id, is_replay=is_replay)


async def _fetch_and_normalise_image(
    edge: Edge, submission: Submission, png: Spool, cover_px: int, *, before_work: BeforeRequest
) -> None:
    """Fetch the image of a submission, unless it came along, and write it to `png`, normalised. Drop the original.

    `cover_px` is the longest side of a video that may be made of it. `before_work` is awaited as late as possible,
    right before the image is fetched or decoded. A fetch has its turn by then, however long that took, so that nothing
    is fetched for a job that would be refused. Raises `ImageRefused`, `Overloaded`, and what `before_work` raises.
    """
    url = submission.request.image_url
    with edge.bodies.spool() as source:
        image = submission.picture or submission.inline or source
        if is_inline(url):
            await before_work()
            if image is source:
                await image.add(url.encode())
        else:
            with tracing.span("fetch picture"), edge.numbers.fetch_s.timed():
                await edge.fetcher.fetch(url, image, before_work=before_work)
        is_uri = is_inline(url) and submission.picture is None
        with tracing.span("decode picture"), edge.numbers.decode_s.timed():
            await edge.normaliser.normalise(image, png, is_inline=is_uri, cover_px=cover_px)
        image.close()


def _longest_side(clusters: list[ClusterStatus]) -> int:
    """Return the longest side, in pixels, of the videos that these clusters make, or that Wan2.1 makes."""
    sides = [side for cluster in clusters for size in cluster.sizes for side in parse_size(size)]
    return max([COVER_PX_MIN, *sides])


def _with_auto_size_resolved(request: JobRequest, clusters: list[ClusterStatus], png_bytes: mmap) -> JobRequest:
    """Return the request with the size that `auto` means for its image; as it is if clusters would differ in it."""
    size = auto_size_for_all(clusters, *png_size(png_bytes)) if request.image_size == AUTO else None
    return request if size is None else replace(request, image_size=size)
