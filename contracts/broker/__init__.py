"""The broker: NATS JetStream behind one class, `Bus`, which every process opens with `connect`.

The modules, from the top: `bus`; its parts `kv` and `pull`, `delivery`, `publishing` and `streams`; the `connection`
that they share; nats-py's `client` with failover. `errors` has what callers catch.
"""

from contracts.broker.bus import Bus, connect
from contracts.broker.connection import REQUEST_WITHIN_S
from contracts.broker.delivery import Delivery
from contracts.broker.direct_get import Stored
from contracts.broker.errors import Refused, StreamFull, SubjectFull, TooLarge, Unavailable, WrongSequence
from contracts.broker.publishing import Expect, Published
from contracts.broker.pull import Pull

__all__ = [
    "REQUEST_WITHIN_S",
    "Bus",
    "Delivery",
    "Expect",
    "Published",
    "Pull",
    "Refused",
    "Stored",
    "StreamFull",
    "SubjectFull",
    "TooLarge",
    "Unavailable",
    "WrongSequence",
    "connect",
]
