"""Read the parameters of live routes, from the query and from `Last-Event-ID`. Pure; what is faulty is an `Invalid`."""

import re
from urllib.parse import parse_qsl

from contracts.cluster import Objection
from services.edge.errors import Invalid

WAIT, AFTER, LAST_EVENT_ID = "wait", "after", "Last-Event-ID"
WAIT_S_MAX = 60
NUMBER_CHARS_MAX = 32
SEQUENCE_MAX = 2**63 - 1
SEQUENCE_DIGITS_MAX = 19
FIELDS_MAX = 20
ECHO_CHARS_MAX = 100
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""Numbers as JSON writes them."""


def wait_in(query: bytes) -> float:
    """Return the seconds that a query asks to wait, 0 without `wait`. Raises `Invalid`."""
    given = _given(query, WAIT)
    if not given:
        return 0.0
    is_number = len(given[0]) <= NUMBER_CHARS_MAX and _NUMBER.fullmatch(given[0]) is not None
    if len(given) == 1 and is_number and 0 <= float(given[0]) <= WAIT_S_MAX:
        return float(given[0])
    raise _faulty(WAIT, given, f"one number of seconds from 0 to {WAIT_S_MAX}")


def after_in(header: str | None, query: bytes) -> int | None:
    """Return the sequence after which a reader goes on, by `Last-Event-ID` or else `after`; None for neither.

    A browser that connects again sends the header with the address of the first time, so the header counts. Both are
    checked. Raises `Invalid`.
    """
    in_query = _sequence(AFTER, _given(query, AFTER))
    in_header = _sequence(LAST_EVENT_ID, [header.strip()]) if header else None
    return in_query if in_header is None else in_header


def _sequence(name: str, given: list[str]) -> int | None:
    """Return the one sequence that is given; None if none is. Raises `Invalid`."""
    if not given:
        return None
    is_number = given[0].isascii() and given[0].isdigit() and len(given[0]) <= SEQUENCE_DIGITS_MAX
    if len(given) == 1 and is_number and int(given[0]) <= SEQUENCE_MAX:
        return int(given[0])
    raise _faulty(name, given, "the id of an event, as a stream of events gave it")


def _given(query: bytes, name: str) -> list[str]:
    """Return the values that a query has for a name. Raises `Invalid` for a query of too many fields."""
    try:
        fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Invalid([Objection(name, f"the query has more than {FIELDS_MAX} fields")]) from error
    return [value for each, value in fields if each == name]


def _faulty(name: str, given: list[str], may_be: str) -> Invalid:
    return Invalid([Objection(name, f"{name} was {', '.join(given)[:ECHO_CHARS_MAX]}; it may be {may_be}")])
