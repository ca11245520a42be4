"""Make metrics of a connection to the broker. Every process that is scraped calls `add_broker_metrics` once."""

from collections.abc import Callable, Mapping

from contracts.broker.bus import Bus
from contracts.broker.counts import Counts
from contracts.process.metrics import Labels, Metrics

_COUNTED: list[tuple[str, str, Callable[[Counts], int]]] = [
    (
        "wanjet_broker_denials_total",
        "Times that the broker denied this process's user a right.",
        lambda counts: counts.denials,
    ),
    (
        "wanjet_broker_publish_retries_total",
        "Publishes that were sent again for want of an answer.",
        lambda counts: counts.publish_retries,
    ),
    (
        "wanjet_broker_publishes_given_up_total",
        "Publishes without an answer in time.",
        lambda counts: counts.publishes_given_up,
    ),
    (
        "wanjet_broker_request_retries_total",
        "Questions to the broker that were asked again.",
        lambda counts: counts.request_retries,
    ),
]
_BY_CONSUMER: list[tuple[str, str, Callable[[Counts], Mapping[str, int]]]] = [
    (
        "wanjet_deliveries_total",
        "Messages that a consumer has given this process.",
        lambda counts: counts.deliveries,
    ),
    (
        "wanjet_redeliveries_total",
        "Messages among the deliveries that somebody had been given before.",
        lambda counts: counts.redeliveries,
    ),
]


def add_broker_metrics(metrics: Metrics, broker: Bus | None, durables: tuple[str, ...] = ()) -> None:
    """Add the metrics of this connection, which is None where only their names are wanted.

    `durables` are the consumers that the process pulls from.
    """
    counts = Counts() if broker is None else broker.counts
    metrics.gauge(
        "wanjet_broker_connected",
        "1 while the process is connected to the broker, else 0.",
        by=lambda: float(broker is not None and broker.connected),
    )
    metrics.read(
        "counter",
        "wanjet_broker_reconnects_total",
        "Times that the connection was lost and made again.",
        by=lambda: {(): float(broker.reconnects if broker else 0)},
    )
    for name, help_, read in _COUNTED:
        metrics.read("counter", name, help_, by=lambda read=read: {(): float(read(counts))})

    def of(by_durable: Mapping[str, int]) -> dict[Labels, float]:
        return {(name,): float(by_durable.get(name, 0)) for name in durables}

    for name, help_, read_all in _BY_CONSUMER if durables else ():
        metrics.read("counter", name, help_, "consumer", by=lambda read=read_all: of(read(counts)))
