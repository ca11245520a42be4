"""Convert a decoded JSON document to a type, or say in plain words which members are wrong: place, value, limits. Pure.

For files that people write or download, such as `wanjet.json`; inference reads them so. The limits stand in the types,
in the words of the API's own errors and of the settings' (`words`).
"""

import types
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import Struct, inspect

from contracts.process import log
from contracts.process.misspelt import nearest
from contracts.words import may_be

T = TypeVar("T")

SHOWN_CHARS_MAX = 100
UNKNOWN_NAMED_MAX = 10
FAULTS_MAX = 20


class Faulty(ValueError):
    """A document is not of the type that was asked for. The text has its first `FAULTS_MAX` faults, a sentence each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:FAULTS_MAX]))


def convert(value: object, kind: type[T]) -> T:
    """Return a decoded JSON value converted to a type, strictly: no number is made of a text. Raises `Faulty`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Faulty(_faults("", value, kind) or ["its values do not go together"]) from error


def _faults(where: str, value: object, kind: Any) -> list[str]:
    """Return a sentence for each fault of a value, at the innermost places; nothing for a value of the type.

    `where` is the place of the value in the document, such as `sizes.default`; empty for the document itself.
    """
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return _within(where, value, kind) or [f"{where or 'it'} was {shown(value)}; it may be {_allowed(kind)}"]
    return []


def _within(where: str, value: object, kind: Any) -> list[str]:
    """Return the faults of a value's members or items; nothing if they have none, or if the value has no such parts."""
    items = cast("list[object]", value if isinstance(value, list) else [])
    named = cast("dict[str, object]", value if isinstance(value, dict) else {})
    for one in _alternatives(kind):
        origin, arguments = get_origin(one), get_args(one)
        if isinstance(value, dict) and isinstance(one, type) and issubclass(one, Struct):
            return _of_struct(where, named, one)
        if isinstance(value, dict) and origin is dict:
            return _first(((_member(where, name), item) for name, item in named.items()), arguments[1])
        if isinstance(value, list) and origin in (list, tuple):
            return _first(((f"{where or 'it'}[{at}]", item) for at, item in enumerate(items)), arguments[0])
    return []


def _of_struct(where: str, value: dict[str, object], kind: type[Struct]) -> list[str]:
    """Return the faults of an object that is to be a struct: wrong, missing and unknown members."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found: list[str] = []
    for name, field in fields.items():
        place = _member(where, name)
        if name in value:
            found += _faults(place, value[name], field.type)
        elif field.required:
            found.append(f"{place} is missing; it may be {_allowed(field.type)}")
    if kind.__struct_config__.forbid_unknown_fields:
        found += _unknown([name for name in value if name not in fields], list(fields))
    return found


def _unknown(names: list[str], fields: list[str]) -> list[str]:
    """Return a sentence for each of the first unknown names, and a single sentence for the rest."""
    found: list[str] = []
    for name in names[:UNKNOWN_NAMED_MAX]:
        meant = nearest(name.lower(), fields)
        hint = f"did you mean {meant}?" if meant else f"the fields are {', '.join(fields[:-1])} and {fields[-1]}"
        found.append(f"{_cut(name)} is not a field; {hint}")
    more = len(names) - UNKNOWN_NAMED_MAX
    return [*found, f"{more} more names are not fields"] if more > 0 else found


def _first(places: Iterable[tuple[str, object]], kind: Any) -> list[str]:
    """Return the faults of the first faulty value among values of the same type, given as pairs of place and value."""
    for where, value in places:
        if faults := _faults(where, value, kind):
            return faults
    return []


def _alternatives(kind: Any) -> list[Any]:
    """Return the types that a type consists of, without their limits."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _alternatives(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return [one for part in get_args(kind) for one in _alternatives(part)]
    return [kind]


def _allowed(kind: Any) -> str:
    """Return in words the values that a type allows."""
    info = inspect.type_info(kind)
    return "an object in braces" if isinstance(info, inspect.DictType | inspect.StructType) else may_be(kind)


def _member(where: str, name: str) -> str:
    """Return the place of a member, such as `sizes.default`."""
    return f"{where}.{_cut(name)}" if where else _cut(name)


def shown(value: object) -> str:
    """Return a JSON value as an error shows it: on one line, cut after `SHOWN_CHARS_MAX` characters.

    Text has no quotes unless that would be ambiguous.
    """
    text = msgspec.json.encode(value).decode()
    if isinstance(value, str) and value and value.isprintable() and " " not in value and not _is_json(value):
        text = value
    return _cut(text)


def _is_json(text: str) -> bool:
    """Return whether a text by itself is a JSON value, such as `5` or `null`."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _cut(text: str) -> str:
    """Return a text on one line, with an ellipsis for what comes after `SHOWN_CHARS_MAX` characters."""
    return log.escaped(text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…")
