"""Convert the members of a JSON object, each still undecoded, into a `JobRequest`, or object to every faulty one. Pure.

The parsers of both dialects, `submission` and `video_submission`, read the members of a body and call `request_of`.
The cost grows with the members' size alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from mmap import mmap
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.labels import METADATA_BYTES_MAX
from contracts.outbound.address import BadForm, parts_of
from contracts.prompt import ANY_PROMPT_RULE, PROMPT_RULE, is_prompt
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
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions of a value that is not of its field's type."""
WHOLE_FLOAT_MAX = 2**53
"""The largest number up to which every whole number has a float of its own."""


class Given(NamedTuple):
    """A value as the client gave it: under this name, and in this JSON."""

    name: str
    raw: Raw


class Names:
    """The names that the object in a body may have. One for each dialect, made once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        members = [(name, Raw | UnsetType, UNSET) for name in self._names]
        self._closed = msgspec.defstruct("_Closed", members, forbid_unknown_fields=True)
        self._open = msgspec.defstruct("_Open", members)

    def read(self, body: bytes | mmap) -> tuple[dict[str, Raw], list[Objection]]:
        """Return the known members of the object in a body, without those that are null, and objections to the unknown.

        Raises `NotJson`, `UnicodeDecodeError`, or `Invalid` if the body is not an object.
        """
        try:
            return self._given(msgspec.json.decode(json_body.without_byte_order_mark(body), type=self._closed)), []
        except UNREADABLE:
            pass
        try:
            members, text = json_body.decode(body, self._open)
        except msgspec.ValidationError as error:
            raise Invalid([Objection("body", "the body must be a JSON object")]) from error
        return self._given(members), unknown_fields(text, self._names)

    def _given(self, members: Struct) -> dict[str, Raw]:
        """Return the members that are there and not null: a member that is null counts as left out."""
        found = {name: getattr(members, name) for name in members.__struct_fields__}
        return {name: raw for name, raw in found.items() if raw is not UNSET and not is_null(raw)}


def is_null(raw: Raw) -> bool:
    """Return whether a member is null."""
    return bytes(memoryview(raw)[: len(NULL) + 1]) == NULL


_FIELDS = {field.name: field for field in msgspec.structs.fields(JobRequest)}


def _is_whole(kind: msgspec.inspect.Type) -> bool:
    """Return whether a field of this type takes a whole number."""
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return any(isinstance(each, msgspec.inspect.IntType) for each in kinds)


_WHOLE = frozenset(name for name, field in _FIELDS.items() if _is_whole(msgspec.inspect.type_info(field.type)))


def request_of(given: Mapping[str, Sequence[Given]], wrong: list[Objection], *, any_prompt: bool = False) -> JobRequest:
    """Return the request of these values, by the name of their field: all are checked, and the last one counts.

    With `any_prompt`, a prompt may be as short as one character. Raises `Invalid` with the objections in `wrong`, and
    with all to the values; a message names a value as the client did. May raise `UnicodeDecodeError`.
    """
    wrong, converted = list(wrong), dict[str, Any]()
    for field in _FIELDS.values():
        values = given.get(field.name, ())
        if field.required and not values:
            rule = _rule_of(field, any_prompt=any_prompt)
            wrong.append(Objection(field.name, f"{field.name} is missing; it may be {rule}"))
        for one in values:
            try:
                converted[field.name] = _converted(field.name, field.type, one.raw, any_prompt=any_prompt)
            except UnicodeDecodeError:
                raise
            except UNREADABLE:
                rule = _rule_of(field, any_prompt=any_prompt)
                wrong.append(Objection(one.name, f"{one.name} was {_shown(field.name, one.raw)}; it may be {rule}"))
    if wrong:
        raise Invalid(wrong)
    request = JobRequest(**converted)
    if contradictions := _contradictions(request):
        raise Invalid(contradictions)
    return request


def _rule_of(field: msgspec.structs.FieldInfo, *, any_prompt: bool) -> str:
    """Return the values that a field takes, in words."""
    return ANY_PROMPT_RULE if any_prompt and field.name == PROMPT else RULES.get(field.name) or may_be(field.type)


def _converted(name: str, kind: Any, raw: Raw, *, any_prompt: bool) -> object:
    """Return a member's value as its field's type. Raises an exception of `UNREADABLE`."""
    value = msgspec.convert(_value(name, raw), kind)
    if name == PROMPT and not (any_prompt or is_prompt(value)):
        raise msgspec.ValidationError
    return value


def _value(name: str, raw: Raw) -> object:
    """Return a member's value: a prompt stripped, a solver's alias resolved, a whole float (20.0) as an `int`.

    Raises an exception of `UNREADABLE`, also for a value over `VALUE_BYTES_MAX` that is no inline image.
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


def _inline_pattern() -> re.Pattern[bytes]:
    """Return a pattern for the beginning of a `data:` URI in JSON, with the blanks and line breaks that URLs drop."""
    blanks = rb"(?: |\\[bfnrt]|\\u00[01][0-9a-f]|\\u0020)*+"
    breaks = rb"(?:\\[nrt]|\\u000[9ad])*+"
    letters = (rb"(?:%c|\\u00%02x|\\u00%02x)" % (letter, letter, letter & ~0x20) for letter in INLINE[:-1].encode())
    return re.compile(rb'"' + blanks + breaks.join([*letters, rb"(?::|\\u003a)"]), re.IGNORECASE)


_INLINE = _inline_pattern()


def _shown(name: str, raw: Raw) -> str:
    """Return a value as an error may echo it, cut to `ECHO_CHARS_MAX`. The rest of a long value is not read."""
    try:
        text = msgspec.json.encode(_value(name, raw)).decode()
    except UNREADABLE:
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
    if request.webhook_url is not UNSET:
        try:
            parts_of(request.webhook_url)
        except BadForm as error:
            wrong.append(Objection("webhook_url", f"webhook_url: {error}"))
    size_bytes = len(msgspec.json.encode(request.metadata)) if request.metadata else 0
    if size_bytes > METADATA_BYTES_MAX:
        what = f"metadata was {size_bytes} bytes of JSON; it may be {METADATA_BYTES_MAX} at most"
        wrong.append(Objection("metadata", what))
    return wrong
