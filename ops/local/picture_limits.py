"""The service's limits for the sides of a picture, so that the demo starts no stack for a picture it would refuse.

The limits and sentences are a copy of those in `services.edge.image.decode`, which `ops` may not import; a test
compares the two.
"""

import math

SIDE_MIN, SIDE_MAX = 32, 8192
PIXELS_MAX = 50_000_000
ASPECT_MAX = 8


def beyond_limits(width: int, height: int) -> str | None:
    """Return why the service refuses a picture of this size in pixels, or None if the service takes it."""
    seen = f"it is {width}×{height} pixels"
    if min(width, height) < SIDE_MIN or max(width, height) > SIDE_MAX:
        return f"{seen}; sides may be {SIDE_MIN} to {SIDE_MAX}"
    if width * height > PIXELS_MAX:
        megapixels = math.ceil(width * height / 10_000) / 100
        return f"{seen}, {megapixels:.2f} megapixels; it may have up to {PIXELS_MAX // 1_000_000} megapixels"
    if max(width, height) > ASPECT_MAX * min(width, height):
        return f"{seen}; one side may be at most {ASPECT_MAX} times the other"
    return None
