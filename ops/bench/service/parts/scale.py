"""Measures what more of a kind bring: edges, and clusters on one queue. `run` calls `measure`.

Three states are in `fold`. On a machine without a core for each edge, more edges cannot be faster: the rows of CPU time
then say whether they cost more.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ops.bench.report.row import Aim, Row, Series
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.fill import have_pulled, jobs_of_all_kinds, publish
from ops.bench.service.ids import count_of, polled
from ops.bench.service.processes import Process
from ops.bench.service.stack import Service, answers
from ops.bench.service.trace import Trace, fairness, per_minute, run
from ops.bench.service.window import CPU, RATE, Against, Window, rows_of, window
from ops.bench.turns import by_turns, warmed
from ops.local.ports import free_ports

EDGES = 3
CLUSTERS = (1, 2, 4, 8)
JOBS_A_CLUSTER = 20
SERVICE_S = 0.2
JOBS = 1000
FAIR = Aim("≥", 0.8)


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of scale."""
    yield from _edges(asked)
    yield from _clusters(asked)


def _edges(asked: Asked) -> Iterator[Row]:
    """Yield the rows of three edges against one, for statuses of waiting jobs, which ask the broker each time."""
    jobs = min(JOBS, asked.jobs[-1])

    def fill(service: Service) -> None:
        publish(service, jobs_of_all_kinds(jobs))
        have_pulled(service, count_of("running", jobs))

    with ExitStack() as stack, asked.service(asked.trees[0], "edges").running(state=False, fill=fill) as service:
        servers = [(service.edge, service.port)]
        for port in free_ports(EDGES - 1):
            cores = asked.cores.two if asked.cores.count > EDGES else asked.cores.service
            edge = service.process(f"edge-{port}", "services.edge", cores, SERVER_PORT=str(port)).start()
            stack.callback(edge.stop)
            edge.wait_for(lambda port=port: answers(port, "/readyz"))
            servers.append((edge, port))
        targets = [f"/video/status/{name}" for name in polled("waiting", jobs)]
        sides = {f"{count} edges": _asking(asked, servers[:count], targets) for count in (1, EDGES)}
        samples = by_turns(warmed(sides), asked.rounds)
        wanted = [Against(f"{EDGES} edges", "1 edges", metric) for metric in (RATE, CPU)]
        yield from rows_of("scale", "waiting statuses", samples, wanted)


def _asking(asked: Asked, servers: Sequence[tuple[Process, int]], targets: list[str]) -> Callable[[], Window]:
    """Return a function that asks all these edges at once, 16 clients in all, and returns the figures together."""
    clients = 16 // len(servers)
    plans = [
        (Plan(port=port, targets=targets, connections=clients, seconds=asked.seconds), edge) for edge, port in servers
    ]

    def side() -> Window:
        with ThreadPoolExecutor(len(plans)) as pool:
            begun = [pool.submit(window, plan, asked.cores, edge) for plan, edge in plans]
            windows = [each.result() for each in begun]
        rate = sum(each.per_s for each in windows)
        cpu_ms = sum(each.cpu_ms * each.per_s for each in windows) / rate
        return Window(
            per_s=rate,
            p50_ms=max(each.p50_ms for each in windows),
            p99_ms=max(each.p99_ms for each in windows),
            slowest_ms=max(each.slowest_ms for each in windows),
            cpu_ms=cpu_ms,
            broker_ms=0.0,
            bytes_per_s=sum(each.bytes_per_s for each in windows),
            generator_cpu=sum(each.generator_cpu for each in windows),
        )

    return side


def _clusters(asked: Asked) -> Iterator[Row]:
    """Yield the rows of 2, 4 and 8 stand-in clusters against one: jobs a minute, and how evenly they share the jobs."""
    with asked.service(asked.trees[0], "clusters").running(edge=False) as service:
        taken = by_turns({str(count): _serving(service, count, SERVICE_S) for count in CLUSTERS}, asked.rounds)
        broker_ms, state_ms = service.broker.cpu_ms, service.state.cpu_ms
        most, _ = _serving(service, CLUSTERS[-1], 0.0)()
        jobs = CLUSTERS[-1] * JOBS_A_CLUSTER
        spent = {"broker": service.broker.cpu_ms - broker_ms, "state": service.state.cpu_ms - state_ms}
    one = Series("1 cluster", [rate for rate, _ in taken["1"]])
    for count in CLUSTERS[1:]:
        many = Series(f"{count} clusters", [rate for rate, _ in taken[str(count)]])
        what = f"jobs a minute, of {SERVICE_S:g} s each"
        yield Row(part="scale", what=what, unit="/min", over=many, under=one)
    yield Row(part="scale", what="jobs a minute that take no time", unit="/min", over=Series("8 clusters", [most]))
    for name, cpu_ms in spent.items():
        of = Series("ours", [cpu_ms / jobs])
        yield Row(part="scale", what=f"CPU of {name} for a job through the queue", unit="CPU ms", over=of)
    shares = Series(f"{CLUSTERS[-1]} clusters", [fair for _, fair in taken[str(CLUSTERS[-1])]])
    yield Row(part="scale", what="fewest jobs of a cluster over most", unit="(ratio)", over=shares, aim=FAIR)


def _serving(service: Service, clusters: int, service_s: float) -> Callable[[], tuple[float, float]]:
    """Return a function that has stand-ins serve a queue, and returns jobs a minute and fairness."""
    jobs = clusters * JOBS_A_CLUSTER
    trace = Trace([0.0] * jobs, [service_s] * jobs)

    def side() -> tuple[float, float]:
        served = run(service, trace, clusters)
        return per_minute(served), fairness(served, clusters)

    return side
