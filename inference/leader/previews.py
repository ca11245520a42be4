"""Make the message of a preview: a small WebP as a `data:` URL. `Outbox` publishes it beside the steps."""

import base64
import io
import time

from PIL import Image

from contracts.preview import PREVIEW_BYTES_MAX, WEBP_URL, Preview
from inference.wan.generate import Picture

QUALITY = 75
METHOD = 2
"""WebP's effort, of 6: a preview is seen for a moment, and the ranks need the cores."""


def preview_of(picture: Picture, *, job_id: str, attempt: int, step: int, steps: int) -> Preview | None:
    """Return the message with the picture of what is expected after `step`; None if the picture is too large."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "WEBP", quality=QUALITY, method=METHOD)
    if len(content.getvalue()) > PREVIEW_BYTES_MAX:
        return None
    height, width, _ = picture.shape
    image = WEBP_URL + base64.b64encode(content.getvalue()).decode()
    return Preview(
        job_id=job_id,
        at=time.time(),
        attempt=attempt,
        step=step,
        steps=steps,
        width=width,
        height=height,
        image=image,
    )
