"""The fields of a request to `/v1/videos`: the names that clients of several servers send, and their types. Pure.

`video_submission` reads a body by them, and the OpenAPI document describes them.
"""

import math
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from contracts.job import FPS, JobRequest
from contracts.words import form
from services.edge.body.members import PICTURE
from services.edge.body.references import PICTURES

EXTRAS = ("extra_params", "extra_body", "extra_json")
"""Objects, perhaps as texts, whose members count as members of the body."""
RENAMED = {"num_inference_steps": "infer_steps", "flow_shift": "sample_shift"}
WITHOUT_EFFECT = (
    "user", "quality", "generator_device", "max_sequence_length", "output_compression", "return_stage_metrics",
)  # fmt: skip
SWITCHES = (
    "enhance_prompt", "enable_teacache", "enable_upscaling", "enable_frame_interpolation", "enable_prompt_expansion",
)  # fmt: skip
"""Switches of other servers: off is taken."""
UNSUPPORTED = ("guidance_scale_2", "boundary_ratio", "true_cfg_scale", "lora")
"""Fields of other servers that would change the pixels, and are refused."""

_FRAMES = cast("msgspec.inspect.IntType", next(
    msgspec.inspect.type_info(field.type) for field in msgspec.structs.fields(JobRequest) if field.name == "num_frames"
))  # fmt: skip
FRAMES_MIN, FRAMES_MAX = _FRAMES.ge or 0, _FRAMES.le or 0
SECONDS_RULE = (
    f"a number from {math.ceil((FRAMES_MIN - 1) / FPS * 100) / 100:g} to "
    f"{math.floor((FRAMES_MAX - 1) / FPS * 100) / 100:g}"
)
_Side = Annotated[int, Meta(ge=10, le=9999)]
_One = Annotated[int, Meta(ge=1, le=1, extra=form("1"))]
OWN: dict[str, Any] = {
    "seconds": Annotated[
        float | Annotated[str, Meta(pattern=r"^ *[0-9]{1,9}(\.[0-9]{1,18})? *\Z")], Meta(extra=form(SECONDS_RULE))
    ],
    "size": Annotated[
        str,
        Meta(
            pattern=r"^ *([Aa][Uu][Tt][Oo]|[1-9][0-9]{1,3}[xX*][1-9][0-9]{1,3}) *\Z",
            extra=form("width x height in pixels, such as 832x480, or auto"),
        ),
    ],
    "width": _Side,
    "height": _Side,
    "fps": Annotated[int, Meta(ge=FPS, le=FPS, extra=form(str(FPS)))],
    "n": _One,
    "num_outputs_per_prompt": _One,
}
"""The types of the fields that this dialect alone has."""
NAMES = frozenset(
    {*JobRequest.__struct_fields__, *PICTURES, *EXTRAS, *RENAMED, *OWN, *SWITCHES, *WITHOUT_EFFECT, *UNSUPPORTED}
)
FIELDS = {name: name for name in JobRequest.__struct_fields__ if name != PICTURE} | RENAMED
"""The fields of a `JobRequest` by their names here. Of two names of one field, the later counts."""
