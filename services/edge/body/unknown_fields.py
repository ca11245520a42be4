"""Find the unknown fields of a submission, and suggest the known ones that they were probably meant as. Pure.

`members` calls `unknown_fields` once a body has names that are none of its dialect. The cost is linear in the body's
size, and no object is made of a value: the members are found by one possessive pattern.
"""

import re

import msgspec

from contracts.cluster import Objection
from contracts.json_body import Body
from services.edge.body.field_suggestions import no_field

ECHO_CHARS_MAX = 100
UNKNOWN_NAMED_MAX = 10
LEVELS_MAX = 16

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _member_pattern() -> re.Pattern[bytes]:
    """Return a pattern for one member of a well-formed object, its name as a group, or else for one character.

    Possessive throughout: no part of a body is tried in two ways, so that no body takes quadratic time (ReDoS).
    """
    text = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    nested = rb"[\[{][^\"\[\]{}]*+[\]}]"
    for _ in range(LEVELS_MAX - 1):
        nested = rb"[\[{](?:[^\"\[\]{}]++|" + text + rb"|" + nested + rb")*+[\]}]"
    value = text + rb"|[^\"\[\]{},]++|" + nested
    return re.compile(rb"\s*+(" + text + rb")\s*+:\s*+(?:" + value + rb")\s*+,?+\s*+|.", re.DOTALL)


_MEMBER = _member_pattern()
_OPENING = re.compile(rb"\s*+\{")


def unknown_fields(text: Body, known: frozenset[str]) -> list[Objection]:
    """Return objections to the fields of a JSON object in UTF-8 that are not `known`, with suggestions.

    Empty if all are known. Each of the first `UNKNOWN_NAMED_MAX` names has one, cut to `ECHO_CHARS_MAX`; one to `body`
    counts the others. At a value that nests deeper than `LEVELS_MAX` the search ends, with an objection to `body`.
    """
    known_raw = frozenset(msgspec.json.encode(name) for name in known)
    named: dict[bytes, Objection] = {}
    more, stopped_at = 0, 0
    for member in _MEMBER.finditer(text, _first_member(text)):
        raw = member[1]
        if raw is None:  # the end, or a value that the pattern cannot follow
            stopped_at = member.start()
            break
        if raw in known_raw or raw in named or (b"\\" in raw and _text(raw) in known):
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
    """Return the place of the first member, in bytes, of a text that is a JSON object."""
    opening = _OPENING.match(text)
    assert opening is not None  # noqa: S101  # it was decoded as an object
    return opening.end()


def _text(raw: bytes) -> str:
    """Return a JSON text without its quotes. One that is far too long to be shown may keep its escapes."""
    try:
        return msgspec.json.decode(raw, type=str)
    except _UNREADABLE:
        return raw[1:-1].decode(errors="replace")
