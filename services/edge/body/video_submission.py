"""Parse the body of `POST /v1/videos` into a `JobRequest`, with the fields of the `openai` package and of servers.

Every field of `/video/submit` is taken too, beside the others or in `extra_params`. `bodies` calls `parse_video` for a
small body, and the child `body_reader` for a large one.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Any

import msgspec
from msgspec import Raw

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import AUTO, FPS, JobRequest
from contracts.json_body import NotJson
from contracts.words import may_be
from services.edge.body.members import (
    UNREADABLE,
    VALUE_BYTES_MAX,
    WHOLE_FLOAT_MAX,
    Given,
    Names,
    request_of,
)
from services.edge.body.references import picture_of
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.body.video_fields import (
    EXTRAS,
    FIELDS,
    FRAMES_MAX,
    FRAMES_MIN,
    NAMES,
    OWN,
    SECONDS_RULE,
    SWITCHES,
    UNSUPPORTED,
)
from services.edge.errors import Invalid

_NAMES, _NAMES_OF_EXTRAS = Names(NAMES), Names(NAMES - {*EXTRAS})
Members = dict[str, Raw]


def parse_video(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body; a field that is null counts as left out.

    Raises `Invalid` with all faulty fields, or for a body that is no JSON object in UTF-8.
    """
    try:
        members, wrong = _NAMES.read(body)
        objects = [*_extras(members, wrong), members]
        return request_of(_translated(objects, wrong), wrong, any_prompt=True)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Invalid([Objection("body", str(json_body.not_utf8(body)))]) from error


def _extras(members: Members, wrong: list[Objection]) -> Iterator[Members]:
    """Take the objects of `EXTRAS` out of the members, and yield the members of each."""
    for name in EXTRAS:
        if (raw := members.pop(name, None)) is None:
            continue
        try:
            inner, unknown = _NAMES_OF_EXTRAS.read(_object_in(raw))
        except (*UNREADABLE, NotJson, Invalid):
            wrong.append(Objection(name, f"{name} must be a JSON object, or one as text"))
        else:
            yield inner
            wrong += unknown


def _object_in(raw: Raw) -> bytes:
    """Return a member as JSON: itself, or what the text holds that it is. Raises an exception of `UNREADABLE`."""
    text = bytes(raw)
    if len(text) > VALUE_BYTES_MAX:
        raise msgspec.ValidationError
    return msgspec.json.decode(text, type=str).encode() if text[:1] == b'"' else text


def _translated(objects: list[Members], wrong: list[Objection]) -> dict[str, list[Given]]:
    """Return the values by the fields of a `JobRequest`: of each field all, and the one that counts last.

    Of two objects, the later one counts. Adds objections to `wrong`, also to values that do not count.
    """
    given: dict[str, list[Given]] = {}
    own: dict[str, Any] = {}
    for name, field in FIELDS.items():
        given.setdefault(field, []).extend(_as_ours(name, each[name]) for each in objects if name in each)
    for each in objects:
        for field, picture in picture_of(each, wrong).items():
            given.setdefault(field, []).append(picture)
        own |= _own(each, wrong)
        wrong += [Objection(name, f"{name} is not supported here") for name in UNSUPPORTED if name in each]
        off = [name for name in SWITCHES if name in each and bytes(memoryview(each[name])[:6]) != b"false"]
        wrong += [_objection(name, each[name], "false") for name in off]
    if own.get("seconds") is not None and not given["num_frames"]:
        given["num_frames"] = _frames(own["seconds"], wrong)
    given["image_size"] += _size(own, wrong, is_given=bool(given["image_size"]))
    return given


def _as_ours(name: str, raw: Raw) -> Given:
    """Return a value of a field of `/video/submit`: elsewhere a guidance of 0 means none, as 1 does here."""
    return Given(name, Raw(b"1.0") if name == "guidance_scale" and _is_zero(raw) else raw)


def _is_zero(raw: Raw) -> bool:
    """Return whether a member is the number 0."""
    try:
        return len(memoryview(raw)) <= ECHO_CHARS_MAX and msgspec.json.decode(raw, type=float) == 0
    except UNREADABLE:
        return False


def _own(members: Members, wrong: list[Objection]) -> dict[str, Any]:
    """Return the values of the fields in `OWN`: None for one that is not of its type, with an objection to it."""
    found: dict[str, Any] = {}
    for name, kind in OWN.items():
        if name not in members:
            continue
        try:
            found[name] = msgspec.convert(_value(members[name]), kind)
        except UNREADABLE:
            found[name] = None
            wrong.append(_objection(name, members[name], may_be(kind)))
    return found


def _value(raw: Raw) -> object:
    """Return a member's value, a whole float (16.0) as an `int`. Raises an exception of `UNREADABLE`."""
    if len(memoryview(raw)) > VALUE_BYTES_MAX:
        raise msgspec.ValidationError
    value = msgspec.json.decode(raw)
    return int(value) if isinstance(value, float) and abs(value) <= WHOLE_FLOAT_MAX and value.is_integer() else value


def _objection(name: str, raw: Raw, rule: str) -> Objection:
    """Return the objection to a member. `rule` is what it may be."""
    shown = bytes(memoryview(raw)[:ECHO_CHARS_MAX]).decode(errors="ignore")
    return Objection(name, f"{name} was {shown}; it may be {rule}")


def _frames(seconds: float | str, wrong: list[Objection]) -> list[Given]:
    """Return the frames of a film of so many seconds: one more than those in which it moves."""
    moving = min(max(float(seconds) * FPS, 0), FRAMES_MAX)
    if FRAMES_MIN <= (frames := round(moving) + 1) <= FRAMES_MAX:
        return [Given("seconds", Raw(b"%d" % frames))]
    wrong.append(_objection("seconds", Raw(msgspec.json.encode(seconds)), SECONDS_RULE))
    return []


def _size(own: dict[str, Any], wrong: list[Objection], *, is_given: bool) -> list[Given]:
    """Return the size: that of `size`, else of `width` and `height`, else `AUTO` unless `image_size` is there."""
    sides = [name for name in ("width", "height") if name in own]
    if any(own.get(name, "") is None for name in ("size", "width", "height")):
        return []
    if "size" in own:
        text = str(own["size"]).strip().lower().replace("x", "*")
    elif len(sides) == 2:
        text = f"{own['width']}*{own['height']}"
    else:
        wrong += [Objection(name, f"{name} is there alone; give width and height, or size") for name in sides]
        text = "" if is_given else AUTO
    return [Given("size", Raw(msgspec.json.encode(text)))] if text else []
