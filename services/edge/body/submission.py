"""The body of a submission → a `JobRequest`, or everything that is wrong with it, field by field. Pure.

What this costs goes by the body's size alone: values of known fields are read, all else is skipped without an object
being made of it, and what is wrong is told in a few kilobytes whatever came.
"""

import re
from mmap import mmap
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.json_body import Body, NotJson
from contracts.prompt import PROMPT_RULE, is_prompt
from contracts.words import may_be
from services.edge.body.near import no_field
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE

ECHO_CHARS_MAX = 100
UNKNOWN_NAMED_MAX = 10
VALUE_BYTES_MAX = 64 * 1024
"""What a value may have in JSON, but for a picture that stands in its own address."""
LEVELS_MAX = 16
SOLVER_ALIASES = {"dpmpp": "dpm++"}
PICTURE, PROMPT = "image_url", "prompt"
NULL = b"null"
RULES = {
    PROMPT: PROMPT_RULE,
    PICTURE: "an http:// or https:// address, or a data: URI with the picture in it",
}
"""In words, for fields of which their types say less."""

_FIELDS = {field.name: field for field in msgspec.structs.fields(JobRequest)}
_RAW_NAMES = frozenset(msgspec.json.encode(name) for name in _FIELDS)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _is_whole(kind: msgspec.inspect.Type) -> bool:
    """Return whether a field takes a whole number."""
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return any(isinstance(one, msgspec.inspect.IntType) for one in kinds)


def _members(name: str, *, closed: bool) -> type[Struct]:
    """A struct of the known fields as they stand in the body."""
    members = [(field, Raw | UnsetType, UNSET) for field in _FIELDS]
    return msgspec.defstruct(name, members, forbid_unknown_fields=closed)


_Closed, _Open = _members("_Closed", closed=True), _members("_Open", closed=False)


def _member_pattern() -> re.Pattern[bytes]:
    """One member of an object that is well formed, its name as a group; or else one character, without a group.

    Possessive throughout: no part of a body is tried in two ways.
    """
    text = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    nested = rb"[\[{][^\"\[\]{}]*+[\]}]"
    for _ in range(LEVELS_MAX - 1):
        nested = rb"[\[{](?:[^\"\[\]{}]++|" + text + rb"|" + nested + rb")*+[\]}]"
    value = text + rb"|[^\"\[\]{},]++|" + nested
    return re.compile(rb"\s*+(" + text + rb")\s*+:\s*+(?:" + value + rb")\s*+,?+\s*+|.", re.DOTALL)


_MEMBER = _member_pattern()
_OPENING = re.compile(rb"\s*+\{")


def _inline_pattern() -> re.Pattern[bytes]:
    """The beginning of a `data:` URI as JSON may write it, with the blanks, tabs and line breaks that do not count."""
    blanks = rb"(?: |\\[bfnrt]|\\u00[01][0-9a-f]|\\u0020)*+"
    breaks = rb"(?:\\[nrt]|\\u000[9ad])*+"
    letters = (rb"(?:%c|\\u00%02x|\\u00%02x)" % (one, one, one & ~0x20) for one in INLINE[:-1].encode())
    return re.compile(rb'"' + blanks + breaks.join([*letters, rb"(?::|\\u003a)"]), re.IGNORECASE)


_INLINE = _inline_pattern()
_WHOLE = frozenset(name for name, field in _FIELDS.items() if _is_whole(msgspec.inspect.type_info(field.type)))
WHOLE_FLOAT_MAX = 2**53
"""Up to which every whole number has a float of its own."""


def parse(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body; a field that is null counts as left out. Raises `Invalid`."""
    try:
        return _parsed(body)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Invalid([Objection("body", str(json_body.not_utf8(body)))]) from error


def _parsed(body: bytes | mmap) -> JobRequest:
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

    Raises `NotJson`, or `Invalid` if it is no object.
    """
    try:
        return msgspec.json.decode(json_body.unmarked(body), type=_Closed), []
    except _UNREADABLE:
        pass
    try:
        members, text = json_body.decode(body, _Open)
    except msgspec.ValidationError as error:
        raise Invalid([Objection("body", "the body must be a JSON object")]) from error
    return members, _unknown(text)


def _unknown(text: Body) -> list[Objection]:
    """Objections to the unknown fields of an object that is well formed: the first by name, and how many more."""
    named: dict[bytes, Objection] = {}
    more, stopped_at = 0, 0
    for member in _MEMBER.finditer(text, _first_member(text)):
        raw = member[1]
        if raw is None:  # the end, or a value that the pattern cannot follow
            stopped_at = member.start()
            break
        if raw in _RAW_NAMES or raw in named or (b"\\" in raw and _text(raw) in _FIELDS):
            continue
        if len(named) == UNKNOWN_NAMED_MAX:
            more += 1
        else:
            name = _text(raw)
            shown = name[:ECHO_CHARS_MAX]
            named[raw] = Objection(shown, no_field(name, shown))
    wrong = list(named.values())
    if more:
        wrong.append(Objection("body", f"{more} more names are not fields"))
    if text[stopped_at : stopped_at + 1] != b"}":
        wrong.append(Objection("body", f"the body nests deeper than {LEVELS_MAX} levels"))
    return wrong


def _first_member(text: Body) -> int:
    opening = _OPENING.match(text)
    assert opening is not None  # noqa: S101  # it was decoded as an object
    return opening.end()


def _text(raw: bytes) -> str:
    """A text in JSON, in quotes; one that is far longer than any that is shown may stay as it was written."""
    try:
        return msgspec.json.decode(raw, type=str)
    except _UNREADABLE:
        return raw[1:-1].decode(errors="replace")


def _converted(name: str, kind: Any, raw: Raw) -> object:
    """Return a member's value as its field has it. Raises what stands in `_UNREADABLE`."""
    value = msgspec.convert(_value(name, raw), kind)
    if name == PROMPT and not is_prompt(value):
        raise msgspec.ValidationError
    return value


def _value(name: str, raw: Raw) -> object:
    """A member's value. Raises what stands in `_UNREADABLE`."""
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
            return int(value)  # JSON has one kind of numbers: 20.0 is 20
        case _:
            return value


def _shown(name: str, raw: Raw) -> str:
    """A value as an error may echo it, of which no more is read than is shown where it is long."""
    try:
        text = msgspec.json.encode(_value(name, raw)).decode()
    except _UNREADABLE:
        text = bytes(memoryview(raw)[: 4 * ECHO_CHARS_MAX + 4]).decode(errors="ignore")
    return text if len(text) <= ECHO_CHARS_MAX else text[:ECHO_CHARS_MAX] + "…"


def _contradictions(request: JobRequest) -> list[Objection]:
    """Fields that are fine one by one and not together."""
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
    """Return what a field may be, in words, from the limits that stand in its type."""
    return RULES.get(name) or may_be(kind)
