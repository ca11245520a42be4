"""Follow a stream from a sequence on: the messages on some patterns, in order, each once (an ordered consumer).

For whoever keeps the sequence up to which it has read beside what it has made of the messages. The broker forgets the
consumer by itself once nobody asks; another one takes its place, from the last message on, whenever one could have been
lost on the way: after an outage, or if the broker's own count has a gap.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from contracts.broker.bus import Bus
from contracts.broker.connection import REQUEST_TIMEOUT_S
from contracts.broker.delivery import Delivery
from contracts.broker.errors import Unavailable

HELD_MAX = 64
"""Messages that are on their way or wait to be taken."""
FORGOTTEN_AFTER_S = 60.0
"""How long the broker keeps a consumer of which nobody asks anything."""


async def follow(
    broker: Bus, stream: str, patterns: Sequence[str], *, after: int, stop: asyncio.Event
) -> AsyncGenerator[list[Delivery], None]:
    """Yield the messages after a sequence as they come, one at least each time, until `stop`. Close the generator.

    They need no acknowledgement. Raises `Unavailable`, also if the broker makes no consumer.
    """
    while not stop.is_set():
        name = f"follow-{secrets.token_hex(8)}"
        await _make(broker, stream, name, patterns, after)
        connection, place, whole = broker.reconnects, 0, True
        while whole and not stop.is_set():
            async with broker.pulling(stream, name, limit=HELD_MAX, stop=stop) as pull:
                while whole and (taken := await pull.take()):
                    good = [each for at, each in enumerate(taken, place + 1) if each.place == at]
                    whole, place = len(good) == len(taken), place + len(good)
                    if good:
                        after = good[-1].sequence
                        yield good
            whole = whole and pull.served and pull.refusal is None and broker.reconnects == connection
        with suppress(nats.errors.Error, nats.js.errors.APIError, TimeoutError, OSError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await broker.admin.delete_consumer(stream, name)


async def _make(broker: Bus, stream: str, name: str, patterns: Sequence[str], after: int) -> None:
    """Make a consumer of the messages after a sequence. Raises `Unavailable`."""
    config = ConsumerConfig(
        name=name,
        description="Reads for numbers; made anew by itself, and forgotten when nobody asks.",
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=AckPolicy.NONE,
        filter_subjects=list(patterns),
        inactive_threshold=FORGOTTEN_AFTER_S,
        num_replicas=1,
        mem_storage=True,
    )
    try:
        await broker.admin.add_consumer(stream, config)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise Unavailable(f"following {stream}: {error!r}") from error
