"""Rebuilds the projection: has the state service fold every status from the log anew: `python -m ops.replay`.

Clients are served meanwhile: the edge folds a status that the bucket lacks from the log. A full log takes minutes; the
line of progress is on stderr.
"""

import asyncio
import math
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from msgspec import Struct
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import Bus
from contracts.process import env, start
from ops.broker import Settings, connected
from ops.progress import ProgressLine

FOLDED_WITHIN_S = 30.0
"""The time without progress after which a replay gives up; a replay that moves may take as long as it takes. Longer
than `STATE_ACK_WAIT_S`, after which a killed service's events are delivered again, and one write of a slow broker."""
IN_HAND_WITHIN_S = 5.0
PAUSED_MAX_S = 30.0
"""The time after which the broker delivers events again by itself, if a replay dies while it has them held back."""
POLL_S = 0.2


class Stuck(Exception):
    """The log is not being folded."""


class Replayed(Struct, frozen=True):
    """The result of a replay: the number of events in the log, and of the statuses that they were folded into."""

    events: int
    statuses: int


async def replay(broker: Bus, *, still_within_s: float = FOLDED_WITHIN_S, out: TextIO = sys.stderr) -> Replayed:
    """Empty the bucket, reset the state service's durable to the log's beginning, and wait until all is folded.

    "All" is what the log holds at the reset: a busy service does not keep the replay from ending. Prints progress to
    `out`. Raises `Stuck` if nothing is folded for `still_within_s`, and `NotFoundError` if the broker is not
    provisioned.

    The order matters: a status that is written between emptying and reset is folded again, and no status is lost. No
    event is delivered meanwhile, since the broker would take the acknowledgement of an earlier delivery for one of the
    later.
    """
    await broker.stream(subjects.EVENTS_STREAM)
    await _hold_back(broker)
    await broker.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    await broker.admin.reset_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, seq=1)
    await broker.admin.resume_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    await _folded(broker, still_within_s, out)
    events = await broker.stream(subjects.EVENTS_STREAM)
    statuses = await broker.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    return Replayed(events.state.messages, statuses.state.messages)


async def _hold_back(broker: Bus) -> None:
    """Have no event delivered for `PAUSED_MAX_S`, and wait until none is in hand, or for `IN_HAND_WITHIN_S`.

    An event that is in hand for longer is that of a state service which was killed.
    """
    until = datetime.fromtimestamp(await broker.now() + PAUSED_MAX_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    await broker.admin.pause_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, until)
    deadline = time.monotonic() + IN_HAND_WITHIN_S
    while time.monotonic() < deadline:
        if not (await broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)).num_ack_pending:
            return
        await asyncio.sleep(POLL_S)


async def _folded(broker: Bus, still_within_s: float, out: TextIO) -> None:
    """Return once every event of now is folded and acknowledged. Raises `Stuck` as `replay` does."""
    log_now = (await broker.stream(subjects.EVENTS_STREAM)).state
    line = ProgressLine(log_now.messages, "events", out)
    moved, floor, fewest = time.monotonic(), 0, math.inf
    try:
        while True:
            consumer = await broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
            before, floor, left = floor, _floor(consumer), _left(consumer)
            if floor >= log_now.last_seq:
                return
            # Right after a reset the broker may say that none is left; the last events of the log may be deleted.
            if left == 0 and _delivered(consumer) >= min(log_now.last_seq, await _last_event(broker)):
                return
            now = time.monotonic()
            if floor != before or left < fewest:
                moved, fewest = now, min(left, fewest)
            if now - moved > still_within_s:
                raise Stuck(f"{left} events wait and nothing moved for {still_within_s:g} s: no state service runs")
            line.show(max(0, log_now.messages - left))
            await asyncio.sleep(POLL_S)
    finally:
        line.clear()


async def _last_event(broker: Bus) -> int:
    """Return the sequence of the last event that the log has now; 0 if it has none."""
    last = await broker.last(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    return 0 if last is None else last.sequence


def _left(consumer: ConsumerInfo) -> int:
    """Return the number of events not yet delivered, or delivered and not acknowledged."""
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)


def _floor(consumer: ConsumerInfo) -> int:
    """Return the sequence in the log up to which every event is acknowledged."""
    return 0 if consumer.ack_floor is None else consumer.ack_floor.stream_seq


def _delivered(consumer: ConsumerInfo) -> int:
    """Return the sequence in the log of the last event that was delivered; 0 if none was since the reset."""
    return 0 if consumer.delivered is None else consumer.delivered.stream_seq


async def main() -> None:
    """Replay the log and print the result. Ends the process with a sentence if the log is not folded."""
    start.configure_log("replay")
    began = time.monotonic()
    async with connected(env.read(Settings), name="replay", user="state") as broker:
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
