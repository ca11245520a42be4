"""Tell the edges that there is a webhook service: a key in a bucket, which expires unless it is written again.

An edge takes a `webhook_url` only while the key is there. It outlives a restart of the service, and an outage of
`ops.buckets.WEBHOOKS_SEEN_S`: endings wait in the log meanwhile.
"""

import asyncio

from contracts import subjects
from contracts.broker import Bus, Refused, Unavailable
from contracts.process import lifetime, log

EVERY_S = 300.0
RETRY_PAUSE_S = 5.0


async def tell_presence(broker: Bus, stop: asyncio.Event) -> None:
    """Write the key at once, and every `EVERY_S`, until `stop` is set. A failure is logged, and retried."""
    while not stop.is_set():
        pause_s = EVERY_S
        try:
            await broker.put_last(subjects.WEBHOOKS_BUCKET, subjects.WEBHOOKS_SERVICE, b"{}")
        except (Unavailable, Refused) as error:
            log.get().warning("webhooks_not_announced", error=str(error))
            pause_s = RETRY_PAUSE_S
        await lifetime.wait_until_set(stop, within_s=pause_s)
