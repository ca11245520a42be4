"""Which facts a log line carries, by where it is logged."""

import asyncio
from collections.abc import Generator
from contextvars import Context
from threading import Thread
from typing import Any

import pytest

from contracts.process import bound
from contracts.process.bound import Facts


@pytest.fixture(autouse=True)
def process() -> Generator[None, None, None]:
    """A process with a fact of its own, which is that of before after the test."""
    before = bound.of_all()
    bound.of_process(service="demo")
    yield
    bound.of_process(**before)


def test_what_a_block_binds_is_gone_after_it_and_what_it_has_hidden_is_back() -> None:
    bound.bind(job_id="outer", route="kept")
    with bound.bound(job_id="inner", attempt=1):
        assert dict(bound.held()) == {"service": "demo", "job_id": "inner", "route": "kept", "attempt": 1}
        bound.bind(rank=3)
    assert dict(bound.held()) == {"service": "demo", "job_id": "outer", "route": "kept", "rank": 3}


def test_what_a_block_binds_is_gone_after_an_error_too() -> None:
    with pytest.raises(ValueError), bound.bound(job_id="inner"):
        raise ValueError
    assert dict(bound.held()) == {"service": "demo"}


def test_what_is_forgotten_is_not_carried_any_more() -> None:
    bound.bind(job_id="a", attempt=1)
    bound.forget("job_id", "unknown")
    assert dict(bound.held()) == {"service": "demo", "attempt": 1}


async def test_a_task_has_what_was_bound_where_it_began_and_keeps_its_own() -> None:
    bound.bind(job_id="a")

    async def task() -> Facts:
        bound.bind(attempt=1)
        return bound.held()

    assert dict(await asyncio.create_task(task())) == {"service": "demo", "job_id": "a", "attempt": 1}
    assert "attempt" not in bound.held()


def test_a_new_thread_has_the_facts_of_the_process() -> None:
    bound.bind(job_id="a")
    seen: list[Facts] = []
    thread = Thread(target=lambda: seen.append(bound.held()))
    thread.start()
    thread.join()
    assert dict(seen[0]) == {"service": "demo"}


def test_a_field_of_the_line_itself_stays() -> None:
    fields: dict[str, Any] = {"service": "own"}
    Context().run(bound.bind, job_id="elsewhere")
    assert bound.merge(None, "", fields) == {"service": "own"}
