"""The metrics of one webhook service: tries, deliveries that are over, and what is under way. `deliver` counts.

Prometheus reads them on `METRICS_PORT`; `nats service stats` shows a few of them, by `now`.
"""

import time
from typing import get_args

from contracts.broker import Bus
from contracts.broker.numbers import add_broker_metrics
from contracts.process.metrics import QUICK_S, Metrics
from contracts.subjects import DUE_DURABLE, WEBHOOKS_DURABLE
from contracts.webhook import DeliveryState, Failure
from services.webhooks.targets import Targets

DELIVERED = "delivered"
OUTCOMES = (DELIVERED, *get_args(Failure))
OVER: tuple[DeliveryState, ...] = ("delivered", "gone", "given_up")


class WebhookNumbers:
    """The metrics of one webhook service. Made at its start; `add_broker` adds those of its connection."""

    def __init__(self, targets: Targets) -> None:
        self.metrics = metrics = Metrics()
        self._last_at: float | None = None
        self._tries = metrics.counter(
            "wanjet_webhook_tries_total",
            "Tries of webhooks by outcome: delivered, or the kind of failure.",
            "outcome",
            known=[(outcome,) for outcome in OUTCOMES],
        )
        self._put_off = metrics.counter(
            "wanjet_webhook_tries_put_off_total", "Tries that were put off, since their target had no place free."
        )
        self._over = metrics.counter(
            "wanjet_webhook_deliveries_total",
            "Deliveries of endings that are over: delivered, gone (a 410), or given up.",
            "state",
            known=[(state,) for state in OVER],
        )
        self._try_s = metrics.histogram(
            "wanjet_webhook_try_seconds", "Seconds of a try, from the look-up of its host's name on.", bounds=QUICK_S
        )
        metrics.read(
            "gauge",
            "wanjet_webhook_tries_running",
            "Tries under way, by how their target answered last: proven, failing, or unproven without an answer yet.",
            "target",
            by=lambda: {(standing.value,): float(held) for standing, held in targets.held.items()},
        )

    def add_broker(self, broker: Bus | None) -> None:
        """Add the metrics of the connection to the broker; of None their names alone."""
        add_broker_metrics(self.metrics, broker, (WEBHOOKS_DURABLE, DUE_DURABLE))

    def tried(self, failure: Failure | None, seconds: float) -> None:
        """Count a try that took so many seconds; no failure is a success."""
        self._tries.add(failure or DELIVERED)
        self._try_s.observe(seconds)
        self._last_at = time.time()

    def put_off(self) -> None:
        """Count a try that found no place."""
        self._put_off.add()

    def recorded(self, state: DeliveryState) -> None:
        """Count a delivery if it is over, once what has become of it is recorded."""
        if state in OVER:
            self._over.add(state)

    def now(self) -> dict[str, float | None]:
        """Return the counts, the average milliseconds of a try, and when the last one was over, in Unix seconds."""
        tries = sum(self._tries.values.values())
        seconds = sum(spread.total for spread in self._try_s.values.values())
        return {
            "tries": tries,
            "tries_failed": tries - self._tries.values[(DELIVERED,)],
            "tries_put_off": self._put_off.values[()],
            **{state: self._over.values[(state,)] for state in OVER},
            "average_ms": round(1000 * seconds / tries, 3) if tries else 0.0,
            "last_tried_at": self._last_at,
        }
