"""Measures submissions: three pictures, by 1, 16 and 64 clients, against the usual way; and two cores against one.

`run` calls `measure` and `measure_two_cores`.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from msgspec.structs import replace

from contracts import subjects
from ops.bench.report.row import Aim, Row, Series
from ops.bench.service import limits, others
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.inputs import LARGE, MEGAPIXEL, TINY, body_file
from ops.bench.service.stack import Service
from ops.bench.service.window import CPU, P50, RATE, Against, Window, rows_of, series, window
from ops.bench.turns import by_turns, warmed

CONNECTIONS = (1, 16, 64)
CONNECTIONS_LARGE = (1, 16)
"""64 bodies of 8 MB at once are more than any side would take; only a full run asks for them."""
RATE_AIM = {TINY: Aim("≥", 0.1), MEGAPIXEL: Aim("≥", 0.5)}
ONE_CLIENT_P50 = Aim("≤", 15.0)
TWO_CORES = Aim("≥", 1.6)

Side = Callable[[], Window]


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of submissions: each picture and number of clients, ours against the usual way and the limits."""
    with ExitStack() as stack:
        services = {tree.name: stack.enter_context(asked.service(tree, "submit").running()) for tree in asked.trees}
        usual = stack.enter_context(others.usual(asked.folder / "usual", asked.cores))
        bare = stack.enter_context(others.bare(asked.folder, asked.cores))
        for picture in (TINY, MEGAPIXEL) if asked.quick else (TINY, MEGAPIXEL, LARGE):
            for connections in _connections(asked, picture):
                plan = _plan(asked, picture, connections)
                sides = {name: _on_service(service, plan) for name, service in services.items()}
                sides["usual"] = _on_server(asked, usual, plan)
                sides["litestar"] = _on_server(asked, bare, plan)
                yield from _rows(picture, connections, by_turns(warmed(sides), asked.rounds))
        if not asked.quick:
            yield _publishes(asked, services["ours"])


def _connections(asked: Asked, picture: str) -> tuple[int, ...]:
    if asked.quick:
        return CONNECTIONS[:1]
    return CONNECTIONS if picture != LARGE or asked.full else CONNECTIONS_LARGE


def _rows(picture: str, connections: int, samples: dict[str, list[Window]]) -> Iterator[Row]:
    what = f"{picture}, {connections} clients"
    yield from rows_of(
        "submit",
        what,
        samples,
        [
            Against("ours", "usual", RATE, RATE_AIM.get(picture)),
            Against("ours", "usual", CPU),
            Against("ours", "old", CPU),
            Against("ours", "litestar", CPU),
        ],
    )
    yield Row(part="submit", what=f"{what}, of the broker", unit="CPU ms", over=_broker("ours", samples))
    if connections == 1:
        aim = ONE_CLIENT_P50 if picture == TINY else None
        yield Row(part="submit", what=f"{what}, p50", unit="ms", over=series("ours", samples["ours"], P50), aim=aim)


def _broker(name: str, samples: dict[str, list[Window]]) -> Series:
    return Series(name, [each.broker_ms for each in samples[name]])


def _publishes(asked: Asked, service: Service) -> Row:
    """Return the row of a tiny submission by 16 clients against bare publishes of jobs by 16 tasks."""
    plan = _plan(asked, TINY, 16)

    def bare() -> float:
        try:
            return limits.trips("publish", service.nats_url, asked.cores, seconds=asked.seconds, clients=16).per_s
        finally:
            _empty(service)

    ours = _on_service(service, plan)
    taken = by_turns({"publish": bare, "ours": lambda: ours().per_s}, asked.rounds)
    return Row(
        part="submit",
        what=f"{TINY}, 16 clients, against bare publishes",
        unit="/s",
        over=Series("ours", taken["ours"]),
        under=Series("publish", taken["publish"]),
    )


def measure_two_cores(asked: Asked) -> Iterator[Row]:
    """Yield the rows of an edge and its decoders on two cores against one core, by 16 clients."""
    if asked.cores.two == asked.cores.service:
        return
    with ExitStack() as stack:
        tree = asked.trees[0]
        one = stack.enter_context(asked.service(tree, "one").running())
        two = stack.enter_context(asked.service(tree, "two", edge_cores=asked.cores.two).running())
        for picture in (TINY, MEGAPIXEL):
            plan = _plan(asked, picture, 16)
            sides = {"two cores": _on_service(two, plan), "one": _on_service(one, plan)}
            samples = by_turns(warmed(sides), asked.rounds)
            yield from rows_of("cores", picture, samples, [Against("two cores", "one", RATE, TWO_CORES)])
            yield from rows_of("cores", picture, samples, [Against("two cores", "one", CPU)])


def _plan(asked: Asked, picture: str, connections: int) -> Plan:
    return Plan(
        port=0,
        targets=["/video/submit"],
        connections=connections,
        seconds=asked.seconds,
        method="POST",
        body_file=body_file(asked.folder, picture),
        expected=202,
    )


def _on_service(service: Service, plan: Plan) -> Side:
    """Return a function that submits to the service, and removes afterwards what was submitted."""
    asked = _to(plan, service.port)
    return emptied(service, lambda: window(asked, service.cores, service.edge, broker=service.broker))


def emptied(service: Service, side: Side) -> Side:
    """Return a function that does what `side` does, and removes afterwards what was submitted."""

    def measured() -> Window:
        try:
            return side()
        finally:
            _empty(service)

    return measured


def _on_server(asked: Asked, server: others.Server, plan: Plan) -> Side:
    pictures = asked.folder / "usual" / "pictures"

    def side() -> Window:
        try:
            return window(_to(plan, server.port), asked.cores, server.process)
        finally:
            for file in pictures.iterdir():
                file.unlink()

    return side


def _to(plan: Plan, port: int) -> Plan:
    return replace(plan, port=port)


def _empty(service: Service) -> None:
    """Remove the queued jobs and their pictures, so that the next window begins as this one did."""
    service.ask(lambda bus: bus.admin.purge_stream(subjects.JOBS_STREAM))
    shutil.rmtree(service.scratch / "inputs", ignore_errors=True)
