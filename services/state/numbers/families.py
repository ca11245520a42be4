"""Name the metrics of the whole service, and say how each follows from what was counted and seen.

`service` gives them to the process's metrics. Each has no series unless this process holds the lock: so a query needs
no `max by (…)`, and a sum is right, with any number of edges and states.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from contracts.process.metrics import LONG_S, Kind, Labels, Metrics, Spread
from services.state.numbers.counts import Counts, by_ending_and_model, by_label, ended_by_labels
from services.state.numbers.look import Seen
from services.state.numbers.standing import SEEN

Series = Mapping[Labels, float | Spread]


class Known(Struct, frozen=True):
    """Knowledge of the holder of the lock: the `counts`, `advisories` by labels, and what it has just `seen`.

    `videos_bytes` is the size of all videos at the last clean-up, None before the first; `videos_bytes_max` the cap.
    """

    counts: Counts
    seen: Seen | None
    advisories: dict[Labels, float]
    videos_bytes: int | None
    videos_bytes_max: int


def add_service_metrics(metrics: Metrics, known: Callable[[], Known | None]) -> None:
    """Add the metrics of the whole service; `known` returns None if this process does not hold the lock."""

    def add(kind: Kind, name: str, help_: str, labels: tuple[str, ...], read: Callable[[Known], Series]) -> None:
        bounds = LONG_S if kind == "histogram" else ()
        metrics.read(kind, name, help_, *labels, by=lambda: _unless_none(known(), read), bounds=bounds)

    for name, help_, labels, read in _COUNTED:
        add("counter", name, help_, labels, lambda now, read=read: read(now.counts))
    for name, help_, labels, read in _SPREADS:
        add("histogram", name, help_, labels, lambda now, read=read: read(now.counts))
    for name, help_, labels, read in SEEN:
        add("gauge", name, help_, labels, lambda now, read=read: {} if now.seen is None else read(now.seen))
    add(
        "counter",
        "wanjet_events_set_aside_total",
        "Events that no state could read, or whose status the broker refused.",
        (),
        lambda now: {} if now.seen is None else {(): now.seen.set_aside},
    )
    add(
        "counter",
        "wanjet_jetstream_advisories_total",
        "Advisories of JetStream, by kind.",
        ("kind",),
        lambda now: now.advisories,
    )
    add("gauge", "wanjet_store_bytes", "Size of all videos at the last clean-up.", (), _stored)
    add(
        "gauge",
        "wanjet_store_limit_bytes",
        "Size above which the oldest videos go.",
        (),
        lambda now: {(): now.videos_bytes_max},
    )


def _unless_none(known: Known | None, read: Callable[[Known], Series]) -> Series:
    return {} if known is None else read(known)


def _stored(known: Known) -> Series:
    return {} if known.videos_bytes is None else {(): known.videos_bytes}


_COUNTED: list[tuple[str, str, tuple[str, ...], Callable[[Counts], Series]]] = [
    ("wanjet_jobs_accepted_total", "Jobs accepted since the log began.", (), lambda counts: {(): counts.accepted}),
    ("wanjet_jobs_ended_total", "Jobs by ending and model.", ("ending", "model"), ended_by_labels),
    (
        "wanjet_attempts_begun_total",
        "Attempts that began: a job's first, or a further one.",
        ("which",),
        lambda counts: by_label(counts.begun),
    ),
    (
        "wanjet_attempts_released_total",
        "Attempts that a cluster handed back when it was told to stop.",
        (),
        lambda counts: {(): counts.released},
    ),
]
_SPREADS: list[tuple[str, str, tuple[str, ...], Callable[[Counts], Series]]] = [
    (
        "wanjet_job_wait_seconds",
        "Seconds from a job's submission until its first attempt began.",
        ("model",),
        lambda counts: by_label(counts.waited),
    ),
    (
        "wanjet_job_run_seconds",
        "Seconds from the beginning of a job's first attempt until its ending.",
        ("ending", "model"),
        lambda counts: by_ending_and_model(counts.ran),
    ),
]
