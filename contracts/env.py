"""Environment → one frozen struct per process, read once in `__main__`: field `nats_url` is variable `NATS_URL`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class BadSetting(SystemExit):
    """Ends the process with one line that names the variable."""


def read(settings: type[T], environ: Mapping[str, str] = os.environ) -> T:
    """The settings as the environment gives them; an empty variable counts as not set.

    Raises `BadSetting` (the process ends) where a value is missing or wrong.
    """
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(settings):
        text = environ.get(field.name.upper(), "")
        if text == "":
            if field.required:
                raise BadSetting(f"{field.name.upper()} must be set")
            continue
        values[field.name] = _convert(field.name.upper(), text, field.type)
    return settings(**values)


def _convert(variable: str, text: str, kind: object) -> object:
    value = [part.strip() for part in text.split(",")] if _is_list(kind) else text
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_made_of)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except msgspec.ValidationError as error:
        raise BadSetting(f"{variable}: {error}, was {text!r}") from error


def _made_of(kind: type[Any], value: object) -> Any:
    """A value of a type that msgspec does not know, such as a path."""
    return kind(value)


def _is_list(kind: object) -> bool:
    return isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.VarTupleType | msgspec.inspect.ListType)
