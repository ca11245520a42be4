"""The preview of a running job: one small picture of what its video is going to be. Pure.

Rank 0 publishes previews beside the steps, on plain NATS under `subjects.previews_of`. They are never stored: whoever
does not listen at that moment has missed one, and a slow broker gets none.
"""

from typing import Annotated

from msgspec import Meta, Struct

from contracts.bounds import AttemptNumber, Side, Steps, UnixSeconds
from contracts.job import JobId

PREVIEW_BYTES_MAX = 24 * 1024
"""The largest WebP of a preview; a larger one is not published."""
WEBP_URL = "data:image/webp;base64,"
_IMAGE_CHARS_MAX = len(WEBP_URL) + 4 * -(-PREVIEW_BYTES_MAX // 3)
WebpUrl = Annotated[str, Meta(max_length=_IMAGE_CHARS_MAX, pattern=rf"^{WEBP_URL}[A-Za-z0-9+/]+={{0,2}}\Z")]
"""A WebP as a `data:` URL."""


class Preview(Struct, frozen=True, kw_only=True, tag=True, tag_field="type", rename={"job_id": "requestId"}):
    """The middle frame of the video as predicted after `step` of `steps`, far smaller than the video.

    `width` and `height` are the picture's own, in pixels.
    """

    job_id: JobId
    at: UnixSeconds
    attempt: AttemptNumber
    step: Steps
    steps: Steps
    width: Side
    height: Side
    image: WebpUrl
