"""Bounds on every number and text that a message carries, as annotated types that msgspec checks while it decodes.

`events`, `status` and `cluster` use them. The bounds are far above the product's values and far below anything costly:
a message from anybody who can reach the broker must not set the length of a loop, overflow a date, or fill a status.
"""

from typing import Annotated

from msgspec import Meta

ATTEMPTS_MAX = 1_000_000
STEPS_MAX = 10_000
FRAMES_MAX = 10_000
SIDE_PIXELS_MAX = 16_384
SIZE_BYTES_MAX = 2**53  # what a JSON number holds exactly in every language
SECONDS_MAX = 1e9
UNIX_SECONDS_MAX = 1e11  # the year 5138: above it `datetime` fails
RANKS_MAX = 1024
HEADS_MAX = 1024
NAME_CHARS_MAX = 256
REASON_CHARS_MAX = 4000

AttemptNumber = Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)]
LatestAttempt = Annotated[int, Meta(ge=0, le=ATTEMPTS_MAX)]
"""0 if no attempt has begun."""
Steps = Annotated[int, Meta(ge=0, le=STEPS_MAX)]
Frames = Annotated[int, Meta(ge=1, le=FRAMES_MAX)]
Side = Annotated[int, Meta(ge=1, le=SIDE_PIXELS_MAX)]
SizeBytes = Annotated[int, Meta(ge=0, le=SIZE_BYTES_MAX)]
Progress = Annotated[float, Meta(ge=0.0, le=1.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(ge=0.0, le=SECONDS_MAX)]
UnixSeconds = Annotated[float, Meta(ge=0.0, le=UNIX_SECONDS_MAX)]
Ranks = Annotated[int, Meta(ge=1, le=RANKS_MAX)]
Heads = Annotated[int, Meta(ge=1, le=HEADS_MAX)]
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Reason = Annotated[str, Meta(max_length=REASON_CHARS_MAX)]
Sha256 = Annotated[str, Meta(max_length=64)]
"""In hexadecimal. Only the length is bounded: a digest is compared, never parsed."""


def clipped(reason: str) -> str:
    """Return a reason cut to `REASON_CHARS_MAX` characters, the last of them an ellipsis if it was longer."""
    return reason if len(reason) <= REASON_CHARS_MAX else reason[: REASON_CHARS_MAX - 1] + "…"
