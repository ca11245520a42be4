"""The broker: NATS JetStream behind one class, `Bus`, which every process opens with `connect`.

The modules, from the top: `bus`; its parts `kv`, `live`, `pull` and `service`, `delivery`, `publishing` and `streams`;
the `connection` that they share; nats-py's `client` with failover. `errors` has what callers catch.
"""

from contracts.broker import websockets as websockets  # isort: split  # before every module that imports nats-py
from contracts.broker.ack_waits import extending_ack_waits
from contracts.broker.bus import Bus, connect
from contracts.broker.connection import REQUEST_WITHIN_S
from contracts.broker.delivery import Delivery
from contracts.broker.direct_get import Stored
from contracts.broker.errors import Refused, StreamFull, SubjectFull, TooLarge, Unavailable, WrongSequence
from contracts.broker.publishing import Expect, Published, Schedule
from contracts.broker.pull import Pull
from contracts.broker.service import Service
from contracts.broker.streams import EVERY_SUBJECT

__all__ = [
    "EVERY_SUBJECT",
    "REQUEST_WITHIN_S",
    "Bus",
    "Delivery",
    "Expect",
    "Published",
    "Pull",
    "Refused",
    "Schedule",
    "Service",
    "Stored",
    "StreamFull",
    "SubjectFull",
    "TooLarge",
    "Unavailable",
    "WrongSequence",
    "connect",
    "extending_ack_waits",
]
