"""The metrics of one state process: events, clean-ups and what they delete. `__main__` makes them.

Those of the whole service are in `numbers`.
"""

import time

from contracts.broker import Bus
from contracts.broker.numbers import add_broker_metrics
from contracts.process.metrics import QUICK_S, Metrics, empty
from contracts.subjects import STATE_DURABLE

FOLDED, SET_ASIDE, PUT_OFF = RESULTS = ("folded", "set_aside", "put_off")
OUTCOMES = ("done", "put_off")
ENDED, NO_JOB = FREED = ("ended", "no_job")
"""Why slots were freed."""


class StateNumbers:
    """The metrics of one state process. Made at its start; `add_broker` adds those of its connection."""

    def __init__(self) -> None:
        self.metrics = metrics = Metrics()
        self.events = metrics.counter(
            "wanjet_events_total",
            "Events that this state has folded, has set aside, or has put off for want of the broker.",
            "result",
            known=[(result,) for result in RESULTS],
        )
        self.batch_s = metrics.histogram(
            "wanjet_fold_seconds",
            "Seconds of a batch of events that was folded, or put off for want of the broker.",
            "result",
            bounds=QUICK_S,
        )
        self.last_folded_at: float | None = None
        """When the last batch was folded, in Unix seconds."""
        self.clean_ups = metrics.counter(
            "wanjet_clean_ups_total",
            "Clean-ups that were done, or put off for want of the broker or a store.",
            "outcome",
            known=[(outcome,) for outcome in OUTCOMES],
        )
        self.files_removed = metrics.counter(
            "wanjet_files_removed_total", "Files that clean-ups have deleted, by reason.", "why"
        )
        self.slots_freed = metrics.counter(
            "wanjet_slots_freed_total",
            "Slots that this state has freed: of jobs that have ended (`ended`), or were never published (`no_job`).",
            "why",
            known=[(why,) for why in FREED],
        )

    def folded(self, seconds: float) -> None:
        """Count a batch that was folded, in so many seconds."""
        self.batch_s.observe(seconds, FOLDED)
        self.last_folded_at = time.time()

    def figures(self) -> dict[str, float | None]:
        """Return what `nats service stats` shows of this process: events, batches, and their average milliseconds."""
        folded = self.batch_s.values.get((FOLDED,), empty(QUICK_S))
        put_off = self.batch_s.values.get((PUT_OFF,), empty(QUICK_S))
        batches = sum(folded.counts)
        return {
            "events_folded": int(self.events.values[FOLDED,]),
            "batches": batches,
            "batches_put_off": sum(put_off.counts),
            "events_set_aside": int(self.events.values[SET_ASIDE,]),
            "average_ms": round(1000 * folded.total / max(1, batches), 3),
            "last_folded_at": self.last_folded_at,
        }

    def add_broker(self, broker: Bus | None) -> None:
        """Add the metrics of the connection to the broker; of None their names alone."""
        add_broker_metrics(self.metrics, broker, (STATE_DURABLE,))
