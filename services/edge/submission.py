"""The body of a submission → a `JobRequest`, or everything that is wrong with it, field by field. Pure."""

from typing import Any, cast

import msgspec
from msgspec import inspect

from contracts.cluster import Objection
from contracts.job import JobRequest

ECHO_CHARS_MAX = 100
SOLVER_ALIASES = {"dpmpp": "dpm++"}


class Invalid(Exception):
    """What is wrong, one objection a field."""

    def __init__(self, objections: list[Objection]) -> None:
        self.objections = objections
        super().__init__("; ".join(objection.message for objection in objections))


def parse(body: bytes) -> JobRequest:
    """The request in a JSON body. Raises `Invalid`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid([Objection("body", "the body is not JSON in UTF-8")]) from error
    if not isinstance(document, dict):
        raise Invalid([Objection("body", "the body must be a JSON object")])
    values = cast("dict[str, object]", document)
    fields = {field.name: field for field in msgspec.structs.fields(JobRequest)}
    converted: dict[str, Any] = {}
    wrong = [
        Objection(name[:ECHO_CHARS_MAX], f"{name[:ECHO_CHARS_MAX]} is not a field")
        for name in values
        if name not in fields
    ]
    for name, field in fields.items():
        if name not in values:
            if field.required:
                wrong.append(Objection(name, f"{name} is missing; it may be {_may_be(field.type)}"))
            continue
        value = _tidied(name, values[name])
        try:
            converted[name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            wrong.append(Objection(name, f"{name} was {_shown(value)}; it may be {_may_be(field.type)}"))
    if wrong:
        raise Invalid(wrong)
    request = JobRequest(**converted)
    if contradictions := _contradictions(request):
        raise Invalid(contradictions)
    return request


def _tidied(name: str, value: object) -> object:
    match name, value:
        case "prompt", str():
            return value.strip()
        case "sample_solver", str():
            return SOLVER_ALIASES.get(value, value)
        case _:
            return value


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


def _shown(value: object) -> str:
    """A value as an error may echo it."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= ECHO_CHARS_MAX else text[:ECHO_CHARS_MAX] + "…"


def _may_be(kind: object) -> str:
    """The limits that stand in a field's type, in words."""
    return _words(inspect.type_info(kind))


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(_words(one) for one in types)
        case inspect.IntType(ge=low, le=high):
            return f"a whole number{_range(low, high)}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number{_range(low, high)}"
        case inspect.StrType(pattern=str()):
            return "W*H in pixels, such as 1280*720"
        case inspect.StrType(min_length=low, max_length=high):
            return f"text{_range(low, high)}{' characters' if high else ''}"
        case inspect.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case _:
            return "left out"


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low}"
    return f" of at most {high}" if low is None else f" from {low} to {high}"
