"""The metrics of one edge: its requests, refusals and pictures. `app` makes them, and `probes` serves them.

The numbers of the whole service are not among them: the state service has those (`services.state.numbers`), once,
however many edges there are.
"""

from collections.abc import Callable

from contracts.broker import Bus
from contracts.broker.numbers import add_broker_metrics
from contracts.process.metrics import OTHER, QUICK_S, Metrics

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""The methods that are counted by name; a client may send any word."""
LEFT = "left"
"""Stands for the code of a request that ended without an answer."""
REASONS = (
    "busy", "tenant_busy", "overloaded", "unavailable",
    "validation_error", "bad_request", "not_found", "internal_error",
)  # fmt: skip
"""Reasons of refusals whose counters are there from the start, with 0."""


class EdgeNumbers:
    """The metrics of one edge. Made before its app; `serve` adds those of what the app opens.

    `certificate_end` returns the Unix seconds at which the served certificate ends; None for an edge without TLS.
    """

    def __init__(self, certificate_end: Callable[[], float] | None = None) -> None:
        self.metrics = metrics = Metrics()
        self.ready = False
        """Whether the edge would take a submission, as of the last look."""
        self.requests = metrics.counter(
            "wanjet_http_requests_total",
            "Requests by route and status; the code of one whose client left before the answer is `left`.",
            "method",
            "route",
            "code",
        )
        self.request_s = metrics.histogram(
            "wanjet_http_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            "route",
            bounds=QUICK_S,
        )
        self._refusals = metrics.counter(
            "wanjet_refusals_total",
            "Refused requests, by the `error` of the answer in lower case.",
            "reason",
            known=[(reason,) for reason in REASONS],
        )
        self.fetch_s = metrics.histogram(
            "wanjet_image_fetch_seconds",
            "Seconds until an image was fetched or could not be, with the wait for a turn.",
            bounds=QUICK_S,
        )
        self.decode_s = metrics.histogram(
            "wanjet_image_decode_seconds",
            "Seconds until an image was decoded or refused, with the wait for a turn.",
            bounds=QUICK_S,
        )
        metrics.gauge(
            "wanjet_edge_ready", "1 if the edge would take a submission now, else 0.", by=lambda: float(self.ready)
        )
        _add_certificate(metrics, certificate_end)

    def add_broker(self, broker: Bus | None) -> None:
        """Add the metrics of the connection to the broker; of None their names alone."""
        add_broker_metrics(self.metrics, broker)

    def served(self, method: str, route: str, status: int, seconds: float, refusal: str) -> None:
        """Count a request. `status` is 0 if the client left before the answer, `refusal` empty if it was served."""
        code = str(status) if status else LEFT
        self.requests.add(method if method in METHODS else OTHER, route, code)
        self.request_s.observe(seconds, route)
        if refusal:
            self.refused(refusal)

    def refused(self, error: str) -> None:
        """Count a refusal by the `error` of its answer."""
        self._refusals.add(error.lower())


def _add_certificate(metrics: Metrics, end: Callable[[], float] | None) -> None:
    """Add the metric of the served certificate, which has no series without one."""
    metrics.read(
        "gauge",
        "wanjet_certificate_end_timestamp_seconds",
        "Unix seconds at which the certificate ends that the edge serves; not there if the edge speaks no TLS.",
        by=lambda: {} if end is None else {(): end()},
    )
