"""Write the texts of a form as the JSON object that a client could have sent instead. Pure.

`form` calls `json_of` once a form is read. So there is one parser for each dialect, and one set of words for what is
wrong, however a request comes.
"""

import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import Raw

from contracts.cluster import Objection
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.errors import Invalid

LITERALS = ("true", "false", "null")
METADATA = "metadata"
"""The object whose members are texts, whatever they look like."""
_NESTED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
"""A name such as `metadata[order]`, a member of an object, or `input_references[]`, a member of a list."""


def json_of(texts: Iterable[tuple[str, str]], strings: frozenset[str]) -> bytes:
    """Return a JSON object with the named texts: those named in `strings` as strings, others as the JSON that they are.

    A text that is no JSON is a string too, and an empty one, which a form's empty field is, null. Raises `Invalid` for
    a name that comes twice.
    """
    members: dict[str, Any] = {}
    for name, text in texts:
        nested = _NESTED.fullmatch(name)
        outer, inner = (nested[1], nested[2]) if nested else (name, None)
        is_string = outer in strings if inner is None else outer == METADATA
        value = text if is_string else _literal(text)
        _put(members, outer, inner, value)
    return msgspec.json.encode(members)


def _put(members: dict[str, Any], outer: str, inner: str | None, value: object) -> None:
    """Put a value into the object: as a member, or as a member of a member. Raises `Invalid` if one is there."""
    if inner is None:
        _put_once(members, outer, value)
    elif inner == "" and isinstance(values := members.setdefault(outer, []), list):
        values.append(value)
    elif inner and isinstance(within := members.setdefault(outer, {}), dict):
        _put_once(cast("dict[str, Any]", within), inner, value)
    else:
        _put_once(members, outer, value)


def _put_once(members: dict[str, Any], name: str, value: object) -> None:
    """Put a value into an object. Raises `Invalid` if it has one of that name."""
    if name in members:
        shown = name[:ECHO_CHARS_MAX]
        raise Invalid([Objection(shown, f"{shown} came twice; a field may come once")])
    members[name] = value


def _literal(text: str) -> object:
    """Return a text as the JSON that it is, `True` and the like in any case; None if it is empty, else the text."""
    plain = text.strip()
    if plain.lower() in LITERALS:
        return Raw(plain.lower().encode())
    if not plain:
        return None
    try:
        msgspec.json.decode(plain)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
    return Raw(plain.encode())
