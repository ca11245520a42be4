"""Measures cold starts and idle memory of edge and state, against the usual way and the other checkout.

`run` calls `measure`. A start is from the command to the first `/readyz` with 200 (edge), to `state_ready` (state), or
to the first answer (usual). Memory is the resident memory of the process itself, and that of it and its children.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from msgspec import Struct

from ops.bench.report.row import Aim, Row
from ops.bench.service import others
from ops.bench.service.asked import Asked
from ops.bench.service.processes import Process
from ops.bench.service.stack import answers
from ops.bench.service.window import Against, Metric, rows_of
from ops.bench.turns import by_turns

EDGE_AIM = Aim("≤", 0.75)
NOT_ABOVE = Aim("≤", 1.0)
SETTLED_S = 2.0
"""What a start leaves for later is loaded one second after it; memory is read then."""
MIB = 1024 * 1024
READY = Metric("ready_s", "s", "ready")
CPU = Metric("cpu_ms", "CPU ms", "CPU until it is idle")
RSS = Metric("rss", "bytes", "resident memory")
PSS = Metric("pss", "bytes", "memory with its children")


class Start(Struct, frozen=True):
    """The figures of one start: seconds, CPU time until it is idle, and memory in bytes."""

    ready_s: float
    cpu_ms: float
    rss: float
    pss: float


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of starts."""
    with ExitStack() as stack:
        services = {
            tree.name: stack.enter_context(asked.service(tree, "start").running(state=False, edge=False))
            for tree in asked.trees
        }
        usual = others.usual_server(asked.folder / "usual-start", asked.cores)
        edges = {name: _started(service.edge, service.start_edge) for name, service in services.items()}
        edges["usual"] = _started(usual.process, lambda: _start_usual(usual))
        states = {name: _started(service.state, service.start_state) for name, service in services.items()}
        for what, sides in (("edge", edges), ("state", states)):
            samples = by_turns(sides, asked.rounds)
            wanted = [
                Against("ours", "old", READY, EDGE_AIM if what == "edge" else None),
                Against("ours", "old", CPU),
                Against("ours", "old", RSS, NOT_ABOVE),
                Against("ours", "old", PSS),
                *(Against("ours", "usual", metric) for metric in (READY, CPU, RSS, PSS)),
            ]
            yield from rows_of("start", what, samples, wanted)


def _started(process: Process, start: Callable[[], float]) -> Callable[[], Start]:
    """Return a function that starts a process, lets it settle, measures it and stops it."""

    def side() -> Start:
        try:
            ready_s = start()
            time.sleep(SETTLED_S)
            return Start(ready_s, process.cpu_ms, MIB * process.rss_mib, MIB * process.pss_mib)
        finally:
            process.stop()

    return side


def _start_usual(usual: others.Server) -> float:
    return usual.process.start().wait_for(lambda: answers(usual.port, "/openapi.json"))
