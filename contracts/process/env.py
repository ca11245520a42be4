"""Read the environment into a process's frozen struct of settings: field `nats_url` is variable `NATS_URL`.

Every `__main__` calls `read` once. Wrong values end the process with a sentence for each that names its variable.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import inspect

from contracts.process import log
from contracts.words import Form, form_of, may_be

T = TypeVar("T", bound=msgspec.Struct)

SHOWN_CHARS_MAX = 100
TRUE_OR_FALSE = "0, 1, true or false"

_PLAIN = re.compile(r"[\w./:@*=,+\[\]~…-]+")
_USER = re.compile(r"(?<=://)[^/@\s]*@")


class BadSetting(SystemExit):
    """Ends the process with one line that names the variable."""


@runtime_checkable
class Related(Protocol):
    """Settings that can contradict each other."""

    def contradictions(self) -> list[str]:
        """Return a sentence for each pair of settings that do not go together."""
        ...


def read(settings: type[T], environ: Mapping[str, str] = os.environ) -> T:
    """Return the settings that the environment gives. An empty variable counts as not set; unknown ones are ignored.

    Raises `BadSetting` (the process ends) if values are missing, wrong or contradictory, with a sentence for each.
    """
    values: dict[str, object] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(settings):
        variable = field.name.upper()
        text = environ.get(variable, "").strip()
        if text == "":
            if field.required:
                wrong.append(f"{variable} must be set; it may be {allowed(field.type)}")
            continue
        try:
            values[field.name] = _convert(text, field.type)
        except _Wrong as error:
            more = "" if error.fault is None else f"; {error.fault}"
            form = form_of(inspect.type_info(field.type))
            was = "is not shown" if form is not None and form.is_secret else f"was {shown(error.text)}"
            wrong.append(f"{variable} {was}; it may be {allowed(field.type)}{more}")
    if wrong:
        raise BadSetting("; ".join(wrong))
    made = settings(**values)
    if isinstance(made, Related) and (contradictions := made.contradictions()):
        raise BadSetting("; ".join(contradictions))
    return made


def allowed(kind: object) -> str:
    """Return in words, those of the API's own errors, the values that a setting of this type may have."""
    if isinstance(inspect.type_info(kind), inspect.BoolType):
        return TRUE_OR_FALSE
    return may_be(kind).removesuffix(" or null")  # no variable can be null


def shown(text: str) -> str:
    """Return a value as an error shows it: on one line, quoted if it has blanks, cut after `SHOWN_CHARS_MAX`.

    The user and password of a URL are left out.
    """
    text = _USER.sub("…@", text)
    text = text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
    return log.escaped(text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False))


class _Wrong(Exception):
    """A value that its type does not allow, or the first such item of a list; `fault` says more about it, if known."""

    def __init__(self, text: str, fault: str | None = None) -> None:
        super().__init__(text)
        self.text, self.fault = text, fault


def _convert(text: str, kind: object) -> object:
    """Return the value of a variable as its type has it, a tuple for a list parted by commas. Raises `_Wrong`."""
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.VarTupleType | inspect.ListType):
        return _converted(text, kind, form_of(info))
    parts = [part for part in (part.strip() for part in text.split(",")) if part]
    if not parts:
        raise _Wrong(text)
    converted: list[object] = []
    for part in parts:
        try:
            converted += _converted([part], kind, None)
        except _Wrong as error:
            raise _Wrong(part) from error
        if (form := form_of(info.item_type)) is not None and not form.holds(converted[-1]):
            raise _Wrong(part)
    return tuple(converted)


def _converted(value: str | list[str], kind: object, form: Form | None) -> Any:
    """Return a value converted to its type, from text as far as needed. Raises `_Wrong`, also if it breaks the form."""
    try:
        converted: Any = msgspec.convert(value, kind, strict=False, dec_hook=_made_of)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except (msgspec.ValidationError, ValueError) as error:
        raise _Wrong(str(value)) from error
    unbounded = isinstance(converted, float) and not math.isfinite(converted)  # nan passes every bound
    if unbounded:
        raise _Wrong(str(value))
    if form is not None and not form.holds(converted):
        raise _Wrong(str(value), form.fault(converted))
    return converted


def _made_of(kind: type[Any], value: object) -> Any:
    """Return a value made by a type that msgspec does not know, such as `Path`: its `dec_hook`."""
    return kind(value)
