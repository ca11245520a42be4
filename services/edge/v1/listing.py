"""Read the query of a list of videos, and the bodies that a list and a deletion answer with. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from msgspec import Struct

from contracts.cluster import Objection
from contracts.status import State
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.errors import Invalid
from services.edge.job_index import Order
from services.edge.job_list import LIMIT_MAX
from services.edge.v1.video import WORDS, Video, job_id_of

LIMIT = 20
"""The videos of a page if the client does not say."""
_NAMES = ("limit", "after", "order", "status")
_LIMIT_DIGITS_MAX = 3


class Query(Struct, frozen=True):
    """The page that a client asks for. `after` is a job's id; `states` are the wanted ones, all without any."""

    limit: int = LIMIT
    after: str | None = None
    order: Order = "desc"
    states: frozenset[State] = frozenset()


class Videos(Struct, frozen=True, kw_only=True):
    """A page of the list. The next one comes with `after` = `last_id` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Struct, frozen=True, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters of a query. Raises `Invalid` if one comes twice: readers would disagree which counts."""
    found: dict[str, str] = {}
    for name, value in given:
        if name in found:
            shown = name[:ECHO_CHARS_MAX]
            raise Invalid([Objection(shown, f"{shown} came twice; a parameter may come once")])
        found[name] = value
    return found


def query_of(given: Mapping[str, str]) -> Query:
    """Return the query. Raises `Invalid` with every faulty parameter, or `NotFound` if `after` is no video's id."""
    unknown = [name[:ECHO_CHARS_MAX] for name in given if name not in _NAMES][:1]
    wrong = [Objection(name, f"{name} is not a field of a list") for name in unknown]
    limit, order = given.get("limit", str(LIMIT)), given.get("order", "desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _LIMIT_DIGITS_MAX and 1 <= int(limit) <= LIMIT_MAX):
        wrong.append(_objection("limit", limit, f"a whole number from 1 to {LIMIT_MAX}"))
    if order not in get_args(Order):
        wrong.append(_objection("order", order, " or ".join(get_args(Order))))
    states: list[State] = [state for state, word in WORDS.items() if word == given.get("status")]
    if "status" in given and not states:
        wrong.append(_objection("status", given["status"], " or ".join(dict.fromkeys(WORDS.values()))))
    if wrong:
        raise Invalid(wrong)
    after = given.get("after")
    return Query(
        int(limit), None if after is None else job_id_of(after), "asc" if order == "asc" else "desc", frozenset(states)
    )


def _objection(name: str, value: str, may_be: str) -> Objection:
    """Return the objection to a parameter."""
    return Objection(name, f"{name} was {value[:ECHO_CHARS_MAX]}; it may be {may_be}")
