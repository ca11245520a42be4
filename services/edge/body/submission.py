"""Parse the body of a submission into a `JobRequest`, or object to every faulty field at once. Pure.

`bodies` calls `parse` for a small body, and the child `body_reader` for a large one. The cost grows with the body's
size alone: values of known fields are read, everything else is skipped without an object being made of it, and the
objections take a few kilobytes whatever the body holds.
"""

import re
from mmap import mmap
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.json_body import NotJson
from contracts.prompt import PROMPT_RULE, is_prompt
from contracts.words import may_be
from services.edge.body.unknown_fields import ECHO_CHARS_MAX, unknown_fields
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE

VALUE_BYTES_MAX = 64 * 1024
"""The largest value in bytes of JSON, except for an image in a `data:` URI."""
SOLVER_ALIASES = {"dpmpp": "dpm++"}
PICTURE, PROMPT = "image_url", "prompt"
NULL = b"null"
RULES = {
    PROMPT: PROMPT_RULE,
    PICTURE: "an http:// or https:// address, or a data: URI with the picture in it",
}
"""The rule of a field in words, if the field's type says less."""

_FIELDS = {field.name: field for field in msgspec.structs.fields(JobRequest)}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _is_whole(kind: msgspec.inspect.Type) -> bool:
    """Return whether a field of this type takes a whole number."""
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return any(isinstance(each, msgspec.inspect.IntType) for each in kinds)


def _members(name: str, *, closed: bool) -> type[Struct]:
    """Return a struct type of this name for the known fields, undecoded. A `closed` one refuses unknown fields."""
    members = [(field, Raw | UnsetType, UNSET) for field in _FIELDS]
    return msgspec.defstruct(name, members, forbid_unknown_fields=closed)


_Closed, _Open = _members("_Closed", closed=True), _members("_Open", closed=False)


def _inline_pattern() -> re.Pattern[bytes]:
    """Return a pattern for the beginning of a `data:` URI in JSON, with the blanks and line breaks that URLs drop."""
    blanks = rb"(?: |\\[bfnrt]|\\u00[01][0-9a-f]|\\u0020)*+"
    breaks = rb"(?:\\[nrt]|\\u000[9ad])*+"
    letters = (rb"(?:%c|\\u00%02x|\\u00%02x)" % (letter, letter, letter & ~0x20) for letter in INLINE[:-1].encode())
    return re.compile(rb'"' + blanks + breaks.join([*letters, rb"(?::|\\u003a)"]), re.IGNORECASE)


_INLINE = _inline_pattern()
_WHOLE = frozenset(name for name, field in _FIELDS.items() if _is_whole(msgspec.inspect.type_info(field.type)))
WHOLE_FLOAT_MAX = 2**53
"""The largest number up to which every whole number has a float of its own."""


def parse(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body; a field that is null counts as left out.

    Raises `Invalid` with all faulty fields, or for a body that is no JSON object in UTF-8.
    """
    try:
        return _parsed(body)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Invalid([Objection("body", str(json_body.not_utf8(body)))]) from error


def _parsed(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body. Raises `Invalid`, `NotJson` or `UnicodeDecodeError`."""
    members, wrong = _read(body)
    converted: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        raw = getattr(members, name)
        if raw is UNSET or bytes(memoryview(raw)[: len(NULL) + 1]) == NULL:
            if field.required:
                wrong.append(Objection(name, f"{name} is missing; it may be {_may_be(name, field.type)}"))
            continue
        try:
            converted[name] = _converted(name, field.type, raw)
        except UnicodeDecodeError:
            raise
        except _UNREADABLE:
            wrong.append(Objection(name, f"{name} was {_shown(name, raw)}; it may be {_may_be(name, field.type)}"))
    if wrong:
        raise Invalid(wrong)
    request = JobRequest(**converted)
    if contradictions := _contradictions(request):
        raise Invalid(contradictions)
    return request


def _read(body: bytes | mmap) -> tuple[Struct, list[Objection]]:
    """Return the known members of the object in a body, and objections to the unknown ones.

    Raises `NotJson`, or `Invalid` if the body is not an object.
    """
    try:
        return msgspec.json.decode(json_body.without_byte_order_mark(body), type=_Closed), []
    except _UNREADABLE:
        pass
    try:
        members, text = json_body.decode(body, _Open)
    except msgspec.ValidationError as error:
        raise Invalid([Objection("body", "the body must be a JSON object")]) from error
    return members, unknown_fields(text)


def _converted(name: str, kind: Any, raw: Raw) -> object:
    """Return a member's value as its field's type. Raises an exception of `_UNREADABLE`."""
    value = msgspec.convert(_value(name, raw), kind)
    if name == PROMPT and not is_prompt(value):
        raise msgspec.ValidationError
    return value


def _value(name: str, raw: Raw) -> object:
    """Return a member's value: a prompt stripped, a solver's alias resolved, a whole float (20.0) as an `int`.

    Raises an exception of `_UNREADABLE`, also for a value over `VALUE_BYTES_MAX` that is no inline image.
    """
    text = memoryview(raw)
    if len(text) > VALUE_BYTES_MAX and not (name == PICTURE and _INLINE.match(text)):
        raise msgspec.ValidationError
    value = msgspec.json.decode(raw)
    match name, value:
        case "prompt", str():
            return value.strip()
        case "sample_solver", str():
            return SOLVER_ALIASES.get(value, value)
        case _, float() if name in _WHOLE and value.is_integer() and abs(value) <= WHOLE_FLOAT_MAX:
            return int(value)  # JSON has one kind of number: 20.0 is 20
        case _:
            return value


def _shown(name: str, raw: Raw) -> str:
    """Return a value as an error may echo it, cut to `ECHO_CHARS_MAX`. The rest of a long value is not read."""
    try:
        text = msgspec.json.encode(_value(name, raw)).decode()
    except _UNREADABLE:
        text = bytes(memoryview(raw)[: 4 * ECHO_CHARS_MAX + 4]).decode(errors="ignore")
    return text if len(text) <= ECHO_CHARS_MAX else text[:ECHO_CHARS_MAX] + "…"


def _contradictions(request: JobRequest) -> list[Objection]:
    """Return objections to fields that are valid one by one but not together; empty if there are none."""
    wrong: list[Objection] = []
    if request.start_step >= request.end_step:
        wrong.append(
            Objection(
                "start_step", f"start_step was {request.start_step}; it must be below end_step {request.end_step}"
            )
        )
    if request.cfg_size == 2 and not request.guided:
        wrong.append(Objection("cfg_size", "cfg_size was 2; at guidance_scale 1.0 there is one branch only"))
    return wrong


def _may_be(name: str, kind: object) -> str:
    """Return the allowed values of a field in words, from `RULES` or from the limits in the field's type."""
    return RULES.get(name) or may_be(kind)
