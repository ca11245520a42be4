"""Count JetStream's advisories, which the broker publishes when something happens that somebody ought to know.

Every state listens all the time, and only the holder of the lock shows its counts. Those about the requests of the API
(`…ADVISORY.API`) are not listened to: the broker publishes one for each request, but only if somebody listens.
"""

from contextlib import suppress

import nats.errors

from contracts.broker import Bus
from contracts.process.metrics import OTHER, Labels

PATTERNS = tuple(f"$JS.EVENT.ADVISORY.{about}.>" for about in ("CONSUMER", "STREAM", "SERVER"))
KINDS = {
    "CONSUMER.MAX_DELIVERIES": "max_deliveries",
    "CONSUMER.MSG_TERMINATED": "terminated",
    "CONSUMER.MSG_NAKED": "handed_back",
    "CONSUMER.LEADER_ELECTED": "consumer_leader_elected",
    "CONSUMER.QUORUM_LOST": "consumer_quorum_lost",
    "STREAM.LEADER_ELECTED": "stream_leader_elected",
    "STREAM.QUORUM_LOST": "stream_quorum_lost",
    "STREAM.CREATED": "stream_created",
    "STREAM.DELETED": "stream_deleted",
    "STREAM.UPDATED": "stream_updated",
    "SERVER.OUT_OF_STORAGE": "out_of_storage",
}
"""How each kind is shown, by the two tokens of its subject."""
IGNORED = ("CONSUMER.CREATED", "CONSUMER.DELETED")
"""Consumers come and go whenever somebody reads a stream."""


class Advisories:
    """The advisories that this process has heard, by kind. One for the process."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys((*KINDS.values(), OTHER), 0)

    async def listen(self, broker: Bus) -> None:
        """Count from now on, as long as the connection lasts. Nothing is counted if the client is not connected."""
        with suppress(nats.errors.Error):
            for pattern in PATTERNS:
                await broker.listen(pattern, self._on_advisory)

    async def _on_advisory(self, subject: str, _payload: bytes) -> None:
        kind = ".".join(subject.split(".")[3:5])
        if kind not in IGNORED:
            self.counts[KINDS.get(kind, OTHER)] += 1

    def by_labels(self) -> dict[Labels, float]:
        """Return the counts by the labels of their series."""
        return {(kind,): float(count) for kind, count in self.counts.items()}
