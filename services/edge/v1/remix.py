"""Make a job of a finished job's picture and fields, with another prompt. `routes` calls it."""

from msgspec import UNSET, Struct
from msgspec.structs import replace

from contracts.cluster import objections
from contracts.events import JobSubmitted
from contracts.job import Generation, JobRequest, input_name
from contracts.prompt import Prompt
from contracts.tenant import Tenant
from services.edge.auth.caller import Caller
from services.edge.body.idempotency import Identity
from services.edge.context import Edge
from services.edge.errors import Gone, Invalid, NotFinished
from services.edge.identities import Attempt
from services.edge.image.data_uri import INLINE
from services.edge.resources.spool import Spool
from services.edge.submit import Receipt, enqueued, identified, unless_repeat


class RemixBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a remix: the new words."""

    prompt: Prompt


class _Remix(Struct, frozen=True):
    """A request for a remix, to be told from others: the new job's fields, and the job whose picture it has."""

    request: JobRequest
    inline: Spool | None = None
    picture: Spool | None = None


async def remix(
    edge: Edge, job_id: str, prompt: str, caller: Caller, key_header: str | None, *, attempt: Attempt | None
) -> Receipt:
    """Accept a job of the caller's that differs from a finished one in its prompt alone, and return its receipt.

    The caller may see the finished one. `key_header` and `attempt` are as in `accept_submission`. Raises `NotFound`,
    `NotFinished` for a job without a video, `Gone` if its picture is gone, and what `accept_submission` raises but for
    `ImageRefused`.
    """
    view = await edge.views.view(job_id)
    if view.status.status != "Succeed" or view.submitted is None:
        raise NotFinished("only a completed video can be remixed")
    request = _request_of(view.submitted, prompt)
    # The address stands for the picture: the same words for another video are another request.
    asked = _Remix(replace(request, image_url=f"{INLINE}{job_id}"))
    identity = await identified(edge, asked, caller, key_header, attempt)
    original, tenant = view.submitted, edge.tenant_of(caller)
    return await unless_repeat(edge, identity, lambda: _accepted_anew(edge, original, request, identity, tenant))


async def _accepted_anew(
    edge: Edge, original: JobSubmitted, request: JobRequest, identity: Identity, tenant: Tenant
) -> Receipt:
    """Publish the job with a copy of the original's picture. Raises as `remix` does."""
    if wrong := objections(request, await edge.jobs.clusters()):
        raise Invalid(wrong)
    await edge.jobs.check_for_room(tenant, identity.job_id)
    name = input_name(original.job_id, original.input_tag)
    gone = Gone("the picture of this video was removed, with the video, to make room")
    try:
        size_bytes = (await edge.inputs.facts(name)).size_bytes
    except FileNotFoundError as error:
        raise gone from error
    async with edge.bodies.memory.claim(size_bytes):
        if (png := await edge.inputs.read(name)) is None:
            raise gone
        return await enqueued(edge, request, png, identity, tenant, remixed_from=original.job_id)


def _request_of(original: JobSubmitted, prompt: str) -> JobRequest:
    """Return the request that would make the original's job, with another prompt. What its client noted is left out."""
    job = original.job
    fields = {name: getattr(job, name) for name in Generation.__struct_fields__ if name != "prompt"}
    return JobRequest(
        **fields, prompt=prompt, image_url=INLINE, num_frames=job.num_frames, seed=job.seed, metadata=UNSET
    )
