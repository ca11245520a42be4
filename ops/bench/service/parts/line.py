"""Measures what the log's line of a request costs, and what its span does: statuses with each against without.

`run` calls `measure`. All edges belong to one service and are pinned to one core, and clients ask for the status of
jobs that have ended, the cheapest request of all; so the ratio is the lowest that a request can have.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

from ops.bench.report.row import Aim, Row
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.fill import jobs_of_all_kinds, publish
from ops.bench.service.ids import polled
from ops.bench.service.stack import Service, answers
from ops.bench.service.window import CPU, P99, RATE, Against, Window, rows_of, window
from ops.bench.turns import by_turns, warmed
from ops.local.ports import free_ports

CLIENTS = 16
JOBS = 100
LINE_AIM, CPU_AIM = Aim("≥", 0.85), Aim("≤", 1 / 0.85)
LOGGED, SILENT, TRACED = "with line", "without", "traced"

Side = Callable[[], Window]


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of edges that log requests, that log warnings alone, and that trace requests."""
    with ExitStack() as stack:
        services = {tree.name: stack.enter_context(_filled(asked.service(tree, "line"))) for tree in asked.trees}
        ours, *olds = services.values()
        traces = {"OTEL_TRACES_EXPORTER": "console", "TRACES_FILE": str(ours.folder / "spans.jsonl")}
        sides = {
            LOGGED: stack.enter_context(_edge(asked, ours, LOG_LEVEL="info")),
            SILENT: stack.enter_context(_edge(asked, ours, LOG_LEVEL="warning")),
            TRACED: stack.enter_context(_edge(asked, ours, LOG_LEVEL="info", **traces)),
        }
        for old in olds:
            sides["old"] = stack.enter_context(_edge(asked, old, LOG_LEVEL="info"))
            sides["old without"] = stack.enter_context(_edge(asked, old, LOG_LEVEL="warning"))
        wanted = [
            Against(LOGGED, SILENT, RATE, LINE_AIM),
            Against(LOGGED, SILENT, CPU, CPU_AIM),
            Against(LOGGED, SILENT, P99),
            Against(TRACED, LOGGED, RATE),
            Against(TRACED, LOGGED, CPU),
            Against(LOGGED, "old", RATE),
            Against(LOGGED, "old", CPU),
            Against(SILENT, "old without", CPU),
            Against("old", "old without", RATE),
            Against("old", "old without", CPU),
        ]
        yield from rows_of("line", "status, ended", by_turns(warmed(sides), asked.rounds), wanted)


@contextmanager
def _filled(service: Service) -> Generator[Service, None, None]:
    """Run a service that has `JOBS` jobs of each kind, without state and edge."""
    fill = jobs_of_all_kinds(JOBS)
    with service.running(state=False, edge=False, fill=lambda filled: publish(filled, fill)):
        yield service


@contextmanager
def _edge(asked: Asked, service: Service, **variables: str) -> Generator[Side, None, None]:
    """Run a further edge of a service with these variables, and have a function that measures a window on it."""
    (port,) = free_ports(1)
    edge = service.process(f"edge-{port}", "services.edge", asked.cores.service, SERVER_PORT=str(port), **variables)
    targets = [f"/video/status/{job}" for job in polled("ended", JOBS)]
    plan = Plan(port=port, targets=targets, connections=CLIENTS, seconds=asked.seconds)
    edge.start().wait_for(lambda: answers(port, "/readyz"))
    try:
        yield lambda: window(plan, asked.cores, edge)
    finally:
        edge.stop()
