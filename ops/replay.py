"""Rebuilds the projection: has the state service fold every status from the log anew: `python -m ops.replay`.

Clients are served meanwhile: the edge folds a status that the bucket lacks from the log.
"""

import asyncio
import time

from msgspec import Struct
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import Bus
from contracts.process import env, log, start
from ops.broker import Settings, connected

FOLDED_WITHIN_S = 3600.0
STILL_WITHIN_S = 15.0  # longer than STATE_ACK_WAIT_S, after which a killed service's event is delivered again
POLL_S = 0.2


class Stuck(Exception):
    """The log is not being folded, or not fast enough."""


class Replayed(Struct, frozen=True):
    """The result of a replay: the number of events in the log, and of the statuses that they were folded into."""

    events: int
    statuses: int


async def replay(broker: Bus, *, still_within_s: float = STILL_WITHIN_S) -> Replayed:
    """Empty the bucket, reset the state service's durable to the log's beginning, and wait until all is folded.

    The order matters: a status that is written between the two is folded again, and no status is lost. Raises `Stuck`
    if nothing is folded for `still_within_s`, or not all within `FOLDED_WITHIN_S`, and `NotFoundError` if the broker is
    not provisioned.
    """
    await broker.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    await broker.admin.reset_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, seq=1)
    await _folded(broker, still_within_s)
    events = await broker.stream(subjects.EVENTS_STREAM)
    statuses = await broker.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    return Replayed(events.state.messages, statuses.state.messages)


async def _folded(broker: Bus, still_within_s: float) -> None:
    """Return once every event is folded and acknowledged. Raises `Stuck` as `replay` does."""
    began = moved = time.monotonic()
    before = -1
    while (left := _left(await broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE))) > 0:
        now = time.monotonic()
        moved = now if left != before else moved
        if now - moved > still_within_s:
            raise Stuck(f"{left} events wait and nothing moved for {still_within_s:g} s: no state service runs")
        if now - began > FOLDED_WITHIN_S:
            raise Stuck(f"{left} events still wait after {FOLDED_WITHIN_S:g} s")
        before = left
        await asyncio.sleep(POLL_S)


def _left(consumer: ConsumerInfo) -> int:
    """Return the number of events not yet delivered, or delivered and not acknowledged."""
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)


async def main() -> None:
    """Replay the log and print the result. Ends the process with a sentence if the log is not folded."""
    log.configure("replay")
    began = time.monotonic()
    async with connected(env.read(Settings), name="replay") as broker:
        try:
            done = await replay(broker)
        except Stuck as stuck:
            raise SystemExit(str(stuck)) from stuck
        except NotFoundError:
            raise SystemExit("this broker is not provisioned: there is nothing to replay") from None
    print(f"folded {done.events} events into {done.statuses} statuses in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    with start.refusing("replay"):
        asyncio.run(main())
