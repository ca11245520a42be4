"""Parse the body of `POST /v1/videos` into a `JobRequest`, with the fields of the `openai` package and of servers.

Every field of `/video/submit` is taken too, beside the others or in `extra_params`. `bodies` calls `parse_video` for a
small body, and the child `body_reader` for a large one.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from mmap import mmap
from typing import cast

import msgspec
from msgspec import Raw

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import AUTO, FPS, JobRequest
from contracts.json_body import NotJson
from services.edge.body.members import PICTURE, UNREADABLE, VALUE_BYTES_MAX, Given, Names, request_of
from services.edge.body.references import PICTURES, picture_of
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.errors import Invalid

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
ONLY = {"n": 1.0, "num_outputs_per_prompt": 1.0, "fps": float(FPS), **dict.fromkeys(SWITCHES, 0.0)}
"""Fields of which only one value is taken."""
UNSUPPORTED = ("guidance_scale_2", "boundary_ratio", "true_cfg_scale", "lora")
"""Fields of other servers that would change the pixels, and are refused."""
NAMES = frozenset(
    {*JobRequest.__struct_fields__, *PICTURES, *EXTRAS, *RENAMED, *ONLY, *WITHOUT_EFFECT, *UNSUPPORTED}
    | {"seconds", "size", "width", "height"}
)

_NAMES = Names(NAMES)
_SIZE = re.compile(r"([1-9][0-9]{1,3})[xX*]([1-9][0-9]{1,3})")
_FRAMES = cast("msgspec.inspect.IntType", next(
    msgspec.inspect.type_info(field.type) for field in msgspec.structs.fields(JobRequest) if field.name == "num_frames"
))  # fmt: skip
_FRAMES_MIN, _FRAMES_MAX = _FRAMES.ge or 0, _FRAMES.le or 0
_SECONDS_RULE = (
    f"a number from {math.ceil((_FRAMES_MIN - 1) / FPS * 100) / 100:g} to "
    f"{math.floor((_FRAMES_MAX - 1) / FPS * 100) / 100:g}"
)
_SIZE_RULE = "width x height in pixels, such as 832x480, or auto"
_SIDES_RULE = "two to four digits, the width in pixels, beside height"

Members = dict[str, Raw]


def parse_video(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body; a field that is null counts as left out.

    Raises `Invalid` with all faulty fields, or for a body that is no JSON object in UTF-8.
    """
    try:
        members, wrong = _NAMES.read(body)
        members = _flattened(members, wrong)
        return request_of(_translated(members, wrong), wrong, any_prompt=True)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Invalid([Objection("body", str(json_body.not_utf8(body)))]) from error


def _flattened(members: Members, wrong: list[Objection]) -> Members:
    """Return the members with those within `EXTRAS` among them; what stands in the body itself counts first."""
    found: Members = {}
    for name in EXTRAS:
        if (raw := members.pop(name, None)) is None:
            continue
        try:
            inner, unknown = _NAMES.read(_object_in(raw))
        except (*UNREADABLE, NotJson, Invalid):
            wrong.append(Objection(name, f"{name} must be a JSON object, or one as text"))
        else:
            found |= {each: value for each, value in inner.items() if each not in EXTRAS}
            wrong += unknown
    return found | members


def _object_in(raw: Raw) -> bytes:
    """Return a member as JSON: itself, or what the text holds that it is. Raises an exception of `UNREADABLE`."""
    text = bytes(raw)
    if len(text) > VALUE_BYTES_MAX:
        raise msgspec.ValidationError
    return msgspec.json.decode(text, type=str).encode() if text[:1] == b'"' else text


def _translated(members: Members, wrong: list[Objection]) -> dict[str, Given]:
    """Return the values by the fields of a `JobRequest`. Adds objections to `wrong`."""
    given = {RENAMED.get(name, name): Given(name, raw) for name, raw in members.items()}
    given = {field: one for field, one in given.items() if field in JobRequest.__struct_fields__ and field != PICTURE}
    given |= picture_of(members, wrong)
    given |= _size(members, wrong)
    if "seconds" in members and "num_frames" not in members:
        frames = _checked("seconds", members["seconds"], _frames, _SECONDS_RULE, wrong)
        given |= {} if frames is None else {"num_frames": frames}
    if "guidance_scale" in members and _is_zero(members["guidance_scale"]):
        given["guidance_scale"] = Given("guidance_scale", Raw(b"1.0"))  # elsewhere 0 means none, as 1 does here
    for name, only in ONLY.items():
        if name in members:
            _checked(name, members[name], partial(_only, only), "false" if name in SWITCHES else f"{only:g}", wrong)
    wrong += [Objection(name, f"{name} is not supported here") for name in UNSUPPORTED if name in members]
    return given


def _checked(name: str, raw: Raw, convert: Callable[[Raw], bytes], rule: str, wrong: list[Objection]) -> Given | None:
    """Return a member, converted; None, with an objection, if it is faulty. `rule` is what it may be."""
    try:
        return Given(name, Raw(convert(raw)))
    except (*UNREADABLE, ValueError, OverflowError):
        shown = bytes(memoryview(raw)[:ECHO_CHARS_MAX]).decode(errors="ignore")
        wrong.append(Objection(name, f"{name} was {shown}; it may be {rule}"))
        return None


def _number(raw: Raw) -> float:
    """Return a number, perhaps as text. Raises an exception of `UNREADABLE`, or `ValueError`."""
    if len(memoryview(raw)) > ECHO_CHARS_MAX:
        raise ValueError
    value = msgspec.json.decode(raw, type=float | bool | str)
    return float(value)


def _only(wanted: float, raw: Raw) -> bytes:
    """Return nothing for this number. Raises `ValueError` for any other."""
    if _number(raw) != wanted:
        raise ValueError
    return b""


def _is_zero(raw: Raw) -> bool:
    """Return whether a member is the number 0."""
    return bytes(memoryview(raw)[:5]) in (b"0", b"0.0", b"0.00", b"-0", b"-0.0")


def _frames(raw: Raw) -> bytes:
    """Return the frames of a film of so many seconds: one more than those in which it moves."""
    frames = round(_number(raw) * FPS) + 1
    if not _FRAMES_MIN <= frames <= _FRAMES_MAX:
        raise ValueError
    return b"%d" % frames


def _size(members: Members, wrong: list[Objection]) -> dict[str, Given]:
    """Return the size: that of `size`, else of `width` and `height`, else of `image_size`, and `AUTO` without any."""
    sides = [name for name in ("width", "height") if name in members]
    if "size" in members:
        found = _checked("size", members["size"], _as_image_size, _SIZE_RULE, wrong)
    elif len(sides) == 2:
        joined = b'"%sx%s"' % (bytes(members["width"]), bytes(members["height"]))
        found = _checked("width", Raw(joined), _as_image_size, _SIDES_RULE, wrong)
    else:
        wrong += [Objection(name, f"{name} is there alone; give width and height, or size") for name in sides]
        own = members.get("image_size")
        found = Given("size", Raw(msgspec.json.encode(AUTO))) if own is None else Given("image_size", own)
    return {} if found is None else {"image_size": found}


def _as_image_size(raw: Raw) -> bytes:
    """Return a size such as `832x480`, or `auto`, as a `JobRequest` has it. Raises `ValueError`."""
    if len(memoryview(raw)) > ECHO_CHARS_MAX:
        raise ValueError
    text = msgspec.json.decode(raw, type=str).strip().lower()
    if text == AUTO:
        return msgspec.json.encode(AUTO)
    if (match := _SIZE.fullmatch(text)) is None:
        raise ValueError
    return msgspec.json.encode(f"{match[1]}*{match[2]}")
