"""Measures statuses: of ended, running and waiting jobs, among 10² to 10⁵ jobs, against the usual way and the limits.

`run` calls `measure`. All services run at once, each with its own number of jobs, so that growth is compared within a
round; state has nothing to do meanwhile and is not started. 16 clients poll `POLLED` jobs, as clients do; a further
row asks for a different job each time.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from ops.bench.report.row import Aim, Row, Series
from ops.bench.service import limits, others
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.fill import have_pulled, jobs_of_all_kinds, publish
from ops.bench.service.ids import KINDS, count_of, polled
from ops.bench.service.processes import Process
from ops.bench.service.stack import Service
from ops.bench.service.window import CPU, P50, P99, RATE, Against, Window, rows_of, window
from ops.bench.turns import by_turns, say, warmed

CLIENTS = 16
RATE_AIMS = {"ended": Aim("≥", 0.7), "running": Aim("≥", 0.6), "waiting": Aim("≥", 0.25)}
P99_AIM = Aim("≤", 2.0)
GROWTH_AIM = Aim("≤", 1.3)
OLD_JOBS = 10_000
MIB = 1024 * 1024

Side = Callable[[], Window]


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of statuses."""
    most = asked.jobs[-1]
    with ExitStack() as stack:
        services: dict[str, Service] = {}
        for jobs in asked.jobs:
            service = asked.service(asked.trees[0], f"status-{jobs}")
            services[_name(asked, jobs)] = stack.enter_context(service.running(state=False, fill=_filled(jobs)))
        old_jobs = min(OLD_JOBS, most)
        for tree in asked.trees[1:]:
            service = asked.service(tree, "status")
            services[tree.name] = stack.enter_context(service.running(state=False, fill=_filled(old_jobs)))
        usual = stack.enter_context(others.usual(asked.folder / "usual-status", asked.cores, jobs=most))
        bare = stack.enter_context(others.bare(asked.folder, asked.cores))
        jobs_of = {_name(asked, jobs): jobs for jobs in asked.jobs} | {tree.name: old_jobs for tree in asked.trees[1:]}
        idle = {name: service.broker.rss_mib for name, service in services.items()}
        for kind in KINDS:
            sides = {name: _on(asked, service, kind, jobs_of[name]) for name, service in services.items()}
            sides["usual"] = _at(asked, usual.process, usual.port, polled(kind, most))
            if kind == "ended":
                sides["litestar"] = _at(asked, bare.process, bare.port, polled(kind, most))
            yield from _rows(kind, asked, by_turns(warmed(sides), asked.rounds), old_jobs)
        if asked.quick:
            return
        yield from _cold(asked, services["ours"], usual, most)
        yield _against_gets(asked, services["ours"], most)
        yield from _one_client(asked, services["ours"], usual, most)
        yield from _memory(asked, services, idle)


def _name(asked: Asked, jobs: int) -> str:
    """Return the name of the side with so many jobs; the one with the most is just ours."""
    return "ours" if jobs == asked.jobs[-1] else f"ours of {jobs}"


def _filled(jobs: int) -> Callable[[Service], None]:
    def fill(service: Service) -> None:
        say(f"filling a broker with {jobs} jobs of each kind")
        publish(service, jobs_of_all_kinds(jobs))
        have_pulled(service, count_of("running", jobs))

    return fill


def _rows(kind: str, asked: Asked, samples: Mapping[str, list[Window]], old_jobs: int) -> Iterator[Row]:
    """Yield a kind's rows: against the others with the most jobs, and the growth from the fewest jobs to the most."""
    least, most = _name(asked, asked.jobs[0]), _name(asked, asked.jobs[-1])
    wanted = [
        Against(most, "usual", RATE, RATE_AIMS[kind]),
        Against(most, "usual", P99, P99_AIM),
        Against(most, "usual", CPU),
        Against(most, "litestar", CPU),
        Against(most, least, P50, GROWTH_AIM),
        Against(most, least, CPU, GROWTH_AIM),
        *(Against(_name(asked, jobs), least, RATE) for jobs in asked.jobs[1:]),
        Against(_name(asked, old_jobs), "old", RATE),
        Against(_name(asked, old_jobs), "old", CPU),
    ]
    yield from rows_of("status", kind, samples, wanted)
    broker = Series(most, [each.broker_ms for each in samples[most]])
    yield Row(part="status", what=f"{kind}, CPU of the broker a request", unit="CPU ms", over=broker)


def _cold(asked: Asked, service: Service, usual: others.Server, jobs: int) -> Iterator[Row]:
    """Yield the rows of ended jobs of which a different one is asked for each time."""
    ids = polled("ended", jobs, count=jobs)
    sides = {
        "ours": _at(asked, service.edge, service.port, ids),
        "usual": _at(asked, usual.process, usual.port, ids),
    }
    samples = by_turns(warmed(sides), asked.rounds)
    yield from rows_of(
        "status",
        "ended, each another job",
        samples,
        [Against("ours", "usual", RATE), Against("ours", "usual", CPU)],
    )


def _against_gets(asked: Asked, service: Service, jobs: int) -> Row:
    """Return the row of ended jobs against bare direct gets from the bucket, as many at once."""

    def bare() -> float:
        trips = limits.trips("get", service.nats_url, asked.cores, seconds=asked.seconds, clients=CLIENTS, jobs=jobs)
        return trips.per_s

    ours = _at(asked, service.edge, service.port, polled("ended", jobs, count=jobs))
    taken = by_turns({"get": bare, "ours": lambda: ours().per_s}, asked.rounds)
    return Row(
        part="status",
        what="ended, each another job, against bare gets",
        unit="/s",
        over=Series("ours", taken["ours"]),
        under=Series("get", taken["get"]),
    )


def _one_client(asked: Asked, service: Service, usual: others.Server, jobs: int) -> Iterator[Row]:
    """Yield the rows of one client's wait for the status of an ended and of a waiting job."""
    for kind in ("ended", "waiting"):
        ids = polled(kind, jobs)
        sides = {
            "ours": _at(asked, service.edge, service.port, ids, clients=1),
            "usual": _at(asked, usual.process, usual.port, ids, clients=1),
        }
        samples = by_turns(warmed(sides), asked.rounds)
        yield from rows_of("status", f"{kind}, one client", samples, [Against("ours", "usual", P50)])


def _memory(asked: Asked, services: Mapping[str, Service], idle: Mapping[str, float]) -> Iterator[Row]:
    """Yield the rows of the memory that jobs take in broker and edge, for each 10⁴ jobs of each kind."""
    least, most = _name(asked, asked.jobs[0]), _name(asked, asked.jobs[-1])
    tens = (asked.jobs[-1] - asked.jobs[0]) / 10_000
    figures = {
        "broker, before reads": idle[most] - idle[least],
        "broker, after reads": services[most].broker.rss_mib - services[least].broker.rss_mib,
        "edge, after reads": services[most].edge.rss_mib - services[least].edge.rss_mib,
    }
    for what, grown_mib in figures.items():
        of = Series("ours", [MIB * grown_mib / tens])
        yield Row(part="memory", what=f"{what}, for 10⁴ jobs of each kind", unit="bytes", over=of)


def _on(asked: Asked, service: Service, kind: str, jobs: int) -> Side:
    return _at(asked, service.edge, service.port, polled(kind, jobs), broker=service.broker)


def _at(
    asked: Asked, server: Process, port: int, ids: list[str], *, clients: int = CLIENTS, broker: Process | None = None
) -> Side:
    """Return a function that asks a server for these jobs."""
    targets = [f"/video/status/{name}" for name in ids]
    plan = Plan(port=port, targets=targets, connections=clients, seconds=asked.seconds)
    return lambda: window(plan, asked.cores, server, broker=broker)
