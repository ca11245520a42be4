"""Facts that every log line of a thread or task carries: those of the process, and those bound where it is logged.

`log` passes the functions on. The facts are one immutable dict in a context variable. structlog's own `contextvars` has
a variable for each name instead, and copies and searches the whole context for every line.
"""

from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

Facts = Mapping[str, Any]


class _Process:
    """The facts of the whole process, which `of_process` sets."""

    facts: Facts = MappingProxyType({})


_bound: ContextVar[Facts | None] = ContextVar("log_facts", default=None)


def of_process(**facts: object) -> None:
    """Have every line carry these facts from now on, in each thread and task that has bound none of its own yet."""
    _Process.facts = facts
    _bound.set(None)


def of_all() -> Facts:
    """Return the facts of the process alone."""
    return _Process.facts


def held() -> Facts:
    """Return the facts that a line logged here carries."""
    facts = _bound.get()
    return _Process.facts if facts is None else facts


def bind(**facts: object) -> None:
    """Have every further line of this task carry these facts too, and those of tasks that it starts."""
    _bound.set({**held(), **facts})


def forget(*names: str) -> None:
    """Have no further line of this task carry these facts."""
    facts = held()
    if not facts.keys().isdisjoint(names):
        _bound.set({name: value for name, value in facts.items() if name not in names})


@contextmanager
def bound(**facts: object) -> Generator[None, None, None]:
    """Have every line of this thread or task carry these facts inside the block, also in tasks that begin there."""
    before = held()
    bind(**facts)
    try:
        yield
    finally:
        forget(*facts)
        bind(**{name: before[name] for name in facts if name in before})


def merge(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the facts to the fields of a line, as a processor of structlog. A field of the line itself stays."""
    for name, value in held().items():
        fields.setdefault(name, value)
    return fields
