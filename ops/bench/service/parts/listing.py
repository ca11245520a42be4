"""Measures pages of the list of jobs, `GET /v1/videos`: the first, the one in the middle and the last, among many jobs.

`run` calls `measure`. A service with few jobs and one with many run at once, so that growth is compared within a round.
All jobs have ended, so that no page differs by the kinds of its jobs; state has nothing to do and is not started. One
client asks for a page again and again, so that its wait is that of a page alone.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from contracts import subjects
from ops.bench.report.row import Aim, Row
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.fill import Message, in_bucket, in_log, life, publish
from ops.bench.service.ids import job_id
from ops.bench.service.stack import Service
from ops.bench.service.window import CPU, P50, P99, Against, Window, rows_of, window
from ops.bench.turns import by_turns, say, warmed

LIMIT, LIMIT_MAX = 20, 100
"""The jobs of a page if a client does not say, and the most that may be asked for."""
AIM = Aim("≤", 2.0)
INDEXED_WITHIN_S = 300.0
POLL_S = 0.2


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of pages, of the usual length and of the greatest."""
    least, most = asked.jobs[0], asked.jobs[-1]
    with ExitStack() as stack:
        services: dict[int, Service] = {}
        for jobs in {least, most}:
            service = asked.service(asked.trees[0], f"list-{jobs}")
            services[jobs] = stack.enter_context(service.running(state=False, fill=_filled(jobs)))
            _wait_for_index(services[jobs], jobs)
        for limit in (LIMIT, LIMIT_MAX) if least > LIMIT_MAX else (LIMIT,):
            sides = {
                _name(page, jobs): _page(asked, services[jobs], jobs, page, limit)
                for jobs in (least, most)
                for page in ("first", "middle", "last")
            }
            yield from _rows(limit, least, most, by_turns(warmed(sides), asked.rounds))


def _name(page: str, jobs: int) -> str:
    return f"{page} of {jobs}"


def _rows(limit: int, least: int, most: int, samples: Mapping[str, list[Window]]) -> Iterator[Row]:
    """Yield the rows of pages of a length: the last against the first, and many jobs against few."""
    first, last = _name("first", most), _name("last", most)
    aim = AIM if limit == LIMIT else None
    wanted = [
        Against(last, first, P50, aim),
        Against(_name("middle", most), first, P50, aim),
        Against(first, _name("first", least), P50, aim),
        Against(last, _name("last", least), P50, aim),
        Against(last, first, P99),
        Against(last, first, CPU),
        Against(first, _name("first", least), CPU),
    ]
    yield from rows_of("list", f"page of {limit}", samples, wanted)


def _page(asked: Asked, service: Service, jobs: int, page: str, limit: int) -> Callable[[], Window]:
    """Return a function that asks for a page. Raises `AssertionError` if it is not the one that is meant."""
    target = f"/v1/videos?limit={limit}"
    if page != "first":
        place = limit if page == "last" else max(limit, jobs // 2)
        target += f"&after=video_{job_id('ended', place)}"
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{target}", timeout=60) as answer:
        shown = json.load(answer)
    assert (len(shown["data"]), shown["has_more"]) == (limit, page != "last"), target
    plan = Plan(port=service.port, targets=[target], seconds=asked.seconds)
    return lambda: window(plan, asked.cores, service.edge, broker=service.broker)


def _filled(jobs: int) -> Callable[[Service], None]:
    """Return a function that fills a broker with so many ended jobs, the one of the number 0 the oldest."""

    def messages() -> Iterator[Message]:
        for number in range(jobs):
            submitted, *_, ended = life(job_id("ended", number))
            yield from in_log([submitted, ended])
            yield from in_bucket([submitted, ended])

    def fill(service: Service) -> None:
        say(f"filling a broker with {jobs} ended jobs")
        publish(service, messages())

    return fill


def _wait_for_index(service: Service, jobs: int) -> None:
    """Wait until the broker has copied every submission into the index. Raises `TimeoutError`."""
    stream, deadline = subjects.bucket_stream(subjects.INDEX_BUCKET), time.monotonic() + INDEXED_WITHIN_S
    while service.ask(lambda bus: bus.stream(stream)).state.messages < jobs:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the index does not have {jobs} jobs")
        time.sleep(POLL_S)
