"""Write the table of rights as people read it, into the second half of README.md: `python -m ops.nats.page`.

Made by `just rights`; a test compares. The first half of the page is written by hand.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from contracts.inventory import DURABLES as DURABLES_IN_WORDS
from contracts.inventory import STREAMS as STREAMS_IN_WORDS
from ops.nats.rights import COUNTERS_OF_ALL, DURABLES, HEARERS, OPERATOR, SERVICES, STREAMS, TELLERS, USERS, Access

PAGE = Path(__file__).with_name("README.md")
HEAD = """## Who may do what

Made from `rights.py` by `just rights`; a test compares, and others try every subject with every key.

"""
NOBODY = "nobody"


def page() -> str:
    """Return the whole page: its first half as it stands, and its second half as the table of rights says."""
    parts = [_users(), _streams(), _durables(), _unstored()]
    return PAGE.read_text().partition(HEAD)[0] + HEAD + "\n".join(parts)


def _users() -> str:
    return _table(("user", "who that is"), ((f"`{user}`", who) for user, who in USERS.items()))


def _streams() -> str:
    head = ("stream", "holds", "written by", "read by", "messages deleted by", "purged by")
    counted = f"The state of every stream may be asked for by {_names((*COUNTERS_OF_ALL, OPERATOR))}.\n"
    return f"{_table(head, (_stream(name, access) for name, access in STREAMS.items()))}\n{counted}"


def _stream(name: str, access: Access) -> tuple[str, ...]:
    readers = (*access.readers, *(("operator",) if access.shown else ()))
    groups = (readers, access.deleters, access.purgers)
    return (f"`{name}`", STREAMS_IN_WORDS[name].holds, _subjects(access.writers), *map(_names, groups))


def _durables() -> str:
    rows = (
        (f"`{name}` of `{each.stream}`", DURABLES_IN_WORDS[name].holds, _code(each.puller), _names(each.resetters))
        for name, each in DURABLES.items()
    )
    return _table(("durable", "for", "pulled and acknowledged by", "reset and paused by"), rows)


def _unstored() -> str:
    told, heard = _by_subject(TELLERS), _by_subject(HEARERS)
    rows = [(_code(subject), _names(told.get(subject, ())), _names(heard[subject])) for subject in heard]
    asked = [(f"`nats service` of `wanjet-{name}`", "`operator`", _code(user)) for user, name in SERVICES.items()]
    return _table(("what no stream keeps", "published by", "heard by"), [*rows, *asked])


def _by_subject(by_user: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the users of each subject."""
    found: dict[str, list[str]] = {}
    for user, some in by_user.items():
        for subject in some:
            found.setdefault(subject, []).append(user)
    return found


def _subjects(by_user: Mapping[str, tuple[str, ...]]) -> str:
    """Return who writes which subjects, in words."""
    return "; ".join(f"`{user}`: {', '.join(map(_code, some))}" for user, some in by_user.items()) or NOBODY


def _names(users: Iterable[str]) -> str:
    return ", ".join(_code(user) for user in users) or NOBODY


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("-" * 3 for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name}\n")
