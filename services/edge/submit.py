"""Accept a submission: read its body, find the job that it means, check it, get its image, and publish the job.

`routes.submit` calls this with the pieces of a request's body and gets the job's id back. Every refusal is an exception
of `errors`. A refused submission leaves nothing stored; one of unknown outcome leaves its input.
"""

from collections.abc import AsyncIterator
from mmap import mmap

from msgspec import Struct
from msgspec.structs import replace

from contracts.cluster import ClusterStatus, objections, size_for_all
from contracts.job import AUTO, JobRequest, parse_size
from contracts.process import log
from services.edge.body.bodies import Submission
from services.edge.body.idempotency import key_in
from services.edge.context import Edge
from services.edge.errors import Invalid
from services.edge.image.data_uri import is_inline
from services.edge.image.late_fetcher import BeforeRequest
from services.edge.image.normalise import png_size
from services.edge.image.picture.shrink import COVER_PX_MIN
from services.edge.resources.spool import Spool


class Receipt(Struct, frozen=True):
    """The id of an accepted job. `is_replay` says that an earlier submission under the same key made the job."""

    job_id: str
    is_replay: bool = False


async def accept_submission(edge: Edge, pieces: AsyncIterator[bytes], key_header: str | None) -> Receipt:
    """Turn a request's body into an accepted job. `key_header` is its `Idempotency-Key` header, or None.

    The steps: parse, identify, is it a repeat, objections, room, image, publish. Each one may end the submission.

    Raises `Invalid`, `ImageRefused`, `KeyReused`, `Busy`, `Overloaded`, `OutcomeUnknown`, `Unavailable` or `OSError`.
    """
    with edge.bodies.spool() as body, edge.bodies.spool() as uri, edge.bodies.spool() as png:
        submission = await edge.bodies.read_submission(pieces, body, uri)
        key = None if key_header is None else key_in(key_header)
        identity = await edge.jobs.identify(key, submission.request, submission.inline)
        log.bind(job_id=identity.job_id)
        if await edge.jobs.is_repeat(identity):
            return Receipt(identity.job_id, is_replay=True)
        clusters = await edge.jobs.clusters()
        if wrong := objections(submission.request, clusters):
            raise Invalid(wrong)
        await _fetch_and_normalise_image(
            edge, submission, png, _longest_side(clusters), before_work=edge.jobs.check_for_room
        )
        async with edge.bodies.memory.claim(png.size_bytes):
            with png.mapped() as png_bytes:
                request = _with_auto_size_resolved(submission.request, clusters, png_bytes)
                is_first = await edge.jobs.publish(request, png_bytes, identity)
        # Another submission of the same id was published meanwhile: is it the same request?
        is_replay = not is_first and await edge.jobs.is_repeat(identity)
        return Receipt(identity.job_id, is_replay=is_replay)


async def _fetch_and_normalise_image(
    edge: Edge, submission: Submission, png: Spool, cover_px: int, *, before_work: BeforeRequest
) -> None:
    """Fetch the image of a submission, unless its URL holds it, and write it to `png`, normalised. Drop the original.

    `cover_px` is the longest side of a video that may be made of it. `before_work` is awaited as late as possible,
    right before the image is fetched or decoded. A fetch has its turn by then, however long that took, so that nothing
    is fetched for a job that would be refused. Raises `ImageRefused`, `Overloaded`, and what `before_work` raises.
    """
    url = submission.request.image_url
    with edge.bodies.spool() as source:
        image = submission.inline or source
        if is_inline(url):
            await before_work()
            if submission.inline is None:
                await image.add(url.encode())
        else:
            await edge.fetcher.fetch(url, image, before_request=before_work)
        await edge.normaliser.normalise(image, png, is_inline=is_inline(url), cover_px=cover_px)
        image.close()


def _longest_side(clusters: list[ClusterStatus]) -> int:
    """Return the longest side, in pixels, of the videos that these clusters make, or that Wan2.1 makes."""
    sides = [side for cluster in clusters for size in cluster.sizes for side in parse_size(size)]
    return max([COVER_PX_MIN, *sides])


def _with_auto_size_resolved(request: JobRequest, clusters: list[ClusterStatus], png_bytes: mmap) -> JobRequest:
    """Return the request with the size that `auto` means for its image; as it is if clusters would differ in it."""
    size = size_for_all(clusters, *png_size(png_bytes)) if request.image_size == AUTO else None
    return request if size is None else replace(request, image_size=size)
