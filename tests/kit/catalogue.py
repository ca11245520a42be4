"""Every metric that a process of ours serves, from the code that makes them. Starts no process and asks no broker."""

from contracts.process.exposition import BUILD
from contracts.process.metrics import Metric, Metrics
from inference.leader.numbers import LeaderNumbers
from services.edge.numbers import EdgeNumbers
from services.state.numbers.families import add_service_metrics
from services.state.numbers.service import add_held
from services.state.own_numbers import StateNumbers
from services.webhooks.numbers import WebhookNumbers
from services.webhooks.targets import Targets

OF_ONE_STATE = "one state"
"""Stands for the state process that serves the numbers of the whole service."""


def by_process() -> dict[str, Metrics]:
    """Return the metrics of each kind of process, without values; those of the whole service apart."""
    edge, state, cluster, service = EdgeNumbers(), StateNumbers(), LeaderNumbers("model", "64*48", dict), Metrics()
    webhooks = WebhookNumbers(Targets())
    own = {"edge": edge, "state": state, "webhooks": webhooks, "cluster": cluster}
    for numbers in own.values():
        numbers.add_broker(None)
    add_held(state.metrics, lambda: False)
    add_service_metrics(service, lambda: None)
    build = Metric("gauge", f"{BUILD[0]}_info", BUILD[1], ("version", "python"), dict)
    for numbers in own.values():
        numbers.metrics.all[build.name] = build
    return {**{process: numbers.metrics for process, numbers in own.items()}, OF_ONE_STATE: service}


def every() -> dict[str, tuple[Metric, list[str]]]:
    """Return each metric by its name, with the kinds of process that serve it."""
    found: dict[str, tuple[Metric, list[str]]] = {}
    for process, metrics in by_process().items():
        for name, metric in metrics.all.items():
            found.setdefault(name, (metric, []))[1].append(process)
    return found
