"""Measures what metrics cost: statuses and submissions of a service that is scraped every second, against one without.

`run` calls `measure`. Every edge counts, so what counting itself costs is seen against an older checkout that does not.
"""

import threading
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from ops.bench.report.row import Aim, Row
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.inputs import TINY, body_file
from ops.bench.service.parts.submit import emptied
from ops.bench.service.stack import Service, submitted
from ops.bench.service.window import CPU, P99, RATE, Against, Window, rows_of, window
from ops.bench.turns import by_turns, warmed
from ops.local.ports import free_ports

CLIENTS = 16
SCRAPE_EVERY_S = 1.0
"""Fifteen times as often as Prometheus is usually told to."""
AIM = Aim("≥", 0.95)

Side = Callable[[], Window]


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of statuses and of submissions, scraped and not."""
    body = body_file(asked.folder, TINY)
    with ExitStack() as stack:
        services = {tree.name: stack.enter_context(asked.service(tree, "plain").running()) for tree in asked.trees}
        services["scraped"] = stack.enter_context(_scraped(asked))
        jobs = {name: submitted(service.port, Path(body).read_bytes()) for name, service in services.items()}
        statuses = {
            name: _side(asked, service, Plan(port=0, targets=[f"/video/status/{jobs[name]}"], connections=CLIENTS))
            for name, service in services.items()
        }
        yield from _rows("status", by_turns(warmed(statuses), asked.rounds))
        plan = Plan(port=0, targets=["/video/submit"], connections=CLIENTS, method="POST", body_file=body, expected=202)
        submissions = {name: emptied(service, _side(asked, service, plan)) for name, service in services.items()}
        yield from _rows("submit", by_turns(warmed(submissions), asked.rounds))


def _rows(what: str, samples: dict[str, list[Window]]) -> Iterator[Row]:
    """Yield the rows of one kind of request."""
    yield from rows_of(
        "metrics",
        f"{what}, scraped every second",
        samples,
        [
            Against("scraped", "ours", RATE, AIM),
            Against("scraped", "ours", CPU),
            Against("scraped", "ours", P99),
            Against("scraped", "old", RATE),
            Against("scraped", "old", CPU),
        ],
    )


def _side(asked: Asked, service: Service, plan: Plan) -> Side:
    aimed = replace(plan, port=service.port, seconds=asked.seconds)
    return lambda: window(aimed, asked.cores, service.edge, broker=service.broker)


@contextmanager
def _scraped(asked: Asked) -> Generator[Service, None, None]:
    """Run a service whose edge and state are scraped every `SCRAPE_EVERY_S`."""
    service = asked.service(asked.trees[0], "scraped")
    ports = free_ports(2)
    for name, port in zip(("edge", "state"), ports, strict=True):
        cores = asked.cores.service if name == "edge" else asked.cores.rest
        variables = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(port)}
        setattr(service, name, service.process(name, f"services.{name}", cores, **variables))
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPE_EVERY_S):
            for port in ports:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    answer.read()

    with service.running():
        scraping = threading.Thread(target=scrape)
        scraping.start()
        try:
            yield service
        finally:
            over.set()
            scraping.join()
