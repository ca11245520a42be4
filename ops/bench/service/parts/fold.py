"""Measures state: events folded a second, by one and by three states, and how soon an event shows.

`run` calls `measure` (fold), `measure_visible` and `measure_replay`. A fold is measured as `ops.replay` makes it: the
bucket is emptied, the durable begins anew, and the clock runs from the first delivery until the last acknowledgement.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

from msgspec import Struct

from contracts import subjects
from contracts.broker import Bus
from ops.bench.report.row import Aim, Row, Series
from ops.bench.service import limits
from ops.bench.service.asked import Asked
from ops.bench.service.fill import EVENTS_A_LIFE, lives, publish
from ops.bench.service.processes import Process
from ops.bench.service.stack import Service
from ops.bench.service.window import Against, Metric, rows_of, series
from ops.bench.turns import by_turns, say

EVENTS = 10_000
EVENTS_OF_OTHERS = 1_000
"""An older state takes one event after the other."""
EVENTS_OF_A_REPLAY = 1_000_000
FOLD_AIM = Aim("≥", 5000.0)
STATES = 3
FOLDED_WITHIN_S = 3600.0
POLL_S = 0.01
PAUSED_S = 60.0
MIB = 1024 * 1024
FOLDED = Metric("per_s", "/s", "events a second")
CPU_EVENT = Metric("cpu_ms", "CPU ms", "CPU of state an event")
BROKER_EVENT = Metric("broker_ms", "CPU ms", "CPU of the broker an event")


class Fold(Struct, frozen=True):
    """The figures of folding a log: by the clock, and CPU time for each event. `state_mib` is the memory after it."""

    per_s: float
    cpu_ms: float
    broker_ms: float
    seconds: float
    state_mib: float


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of folding: one state against that of the other checkout, and three states against one."""
    with ExitStack() as stack:
        services = {
            tree.name: stack.enter_context(asked.service(tree, "fold").running(edge=False, fill=_filled(tree.name)))
            for tree in asked.trees
        }
        sides = {name: _folding(service, [service.state]) for name, service in services.items()}
        sides["put+get"] = lambda: _bare(asked, services["ours"])
        samples = by_turns(sides, asked.rounds)
        folded = series("ours", samples["ours"], FOLDED)
        yield Row(part="fold", what="events a second", unit="/s", over=folded, aim=FOLD_AIM)
        for metric in (CPU_EVENT, BROKER_EVENT):
            yield Row(part="fold", what=metric.what, unit=metric.unit, over=series("ours", samples["ours"], metric))
        yield from rows_of(
            "fold",
            "one state",
            samples,
            [
                Against("ours", "old", FOLDED),
                Against("ours", "old", CPU_EVENT),
                Against("ours", "put+get", CPU_EVENT),
            ],
        )
        if not asked.quick:
            yield from _more_states(asked, services["ours"])


def _filled(tree: str) -> Callable[[Service], None]:
    """Return a function that fills the log of a tree's service with lives."""
    events = EVENTS if tree == "ours" else EVENTS_OF_OTHERS
    return lambda service: publish(service, lives(events // EVENTS_A_LIFE))


def _bare(asked: Asked, service: Service) -> Fold:
    """Return the figures of one client's bare puts and gets of statuses, one for each event."""
    trips = limits.trips("put-get", service.nats_url, asked.cores, seconds=asked.seconds, clients=1)
    return Fold(trips.per_s, trips.cpu_ms, 0.0, asked.seconds, 0.0)


def _more_states(asked: Asked, service: Service) -> Iterator[Row]:
    """Yield the rows of three states against one, on one log; the further ones have cores of the rest, if there are."""
    further = [service.process(f"state-{at}", "services.state", asked.cores.two) for at in range(1, STATES)]

    def with_further() -> Fold:
        try:
            for state in further:
                state.start().wait_for(lambda state=state: "state_ready" in state.text)
            return _folding(service, [service.state, *further])()
        finally:
            for state in further:
                state.stop()
                state.log.unlink()

    sides = {"1 state": _folding(service, [service.state]), f"{STATES} states": with_further}
    samples = by_turns(sides, asked.rounds)
    many = f"{STATES} states"
    yield from rows_of(
        "scale", "fold", samples, [Against(many, "1 state", FOLDED), Against(many, "1 state", CPU_EVENT)]
    )


def measure_replay(asked: Asked) -> Iterator[Row]:
    """Yield the rows of one replay of 10⁶ events, if a full run is asked for: minutes, and memory."""
    if not asked.full:
        return
    count = EVENTS_OF_A_REPLAY // EVENTS_A_LIFE
    service = asked.service(asked.trees[0], "replay")
    say(f"filling a log with {count * EVENTS_A_LIFE} events")
    with service.running(edge=False, fill=lambda service: publish(service, lives(count))):
        fold = _folding(service, [service.state])()
        broker_mib = service.broker.rss_mib
    of = f"{count * EVENTS_A_LIFE:,} events"
    yield Row(part="replay", what=f"{of}, minutes", unit="min", over=Series("ours", [fold.seconds / 60]))
    yield Row(part="replay", what=f"{of}, events a second", unit="/s", over=Series("ours", [fold.per_s]))
    yield Row(part="replay", what=f"{of}, memory of state", unit="bytes", over=Series("ours", [MIB * fold.state_mib]))
    yield Row(part="replay", what=f"{of}, memory of the broker", unit="bytes", over=Series("ours", [MIB * broker_mib]))


def _folding(service: Service, states: list[Process]) -> Callable[[], Fold]:
    """Return a function that has the states fold the whole log anew."""

    def side() -> Fold:
        _settle(service)
        before, broker_before = sum(state.cpu_ms for state in states), service.broker.cpu_ms
        events, seconds = service.ask(_fold_anew)
        spent = sum(state.cpu_ms for state in states) - before
        return Fold(
            per_s=events / seconds,
            cpu_ms=spent / events,
            broker_ms=(service.broker.cpu_ms - broker_before) / events,
            seconds=seconds,
            state_mib=states[0].rss_mib,
        )

    return side


def _settle(service: Service) -> None:
    """Wait until state has folded all that there is, as after its start."""
    service.ask(_all_folded)


async def _all_folded(bus: Bus) -> None:
    """Return once the durable of state has nothing left. Raises `TimeoutError` after `FOLDED_WITHIN_S`."""
    last = (await bus.stream(subjects.EVENTS_STREAM)).state.last_seq
    deadline = time.monotonic() + FOLDED_WITHIN_S
    while time.monotonic() < deadline:
        durable = await bus.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
        if durable.ack_floor is not None and (durable.ack_floor.stream_seq or 0) >= last:
            return
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"state has not folded the log within {FOLDED_WITHIN_S:.0f} s")


async def _fold_anew(bus: Bus) -> tuple[int, float]:
    """Have state fold the log anew. Return the number of events, and the seconds."""
    until = datetime.fromtimestamp(await bus.now() + PAUSED_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    log, durable = subjects.EVENTS_STREAM, subjects.STATE_DURABLE
    await bus.admin.pause_consumer(log, durable, until)
    await bus.admin.purge_stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    await bus.admin.reset_consumer(log, durable, seq=1)
    events = (await bus.stream(log)).state.messages
    began = time.monotonic()
    await bus.admin.resume_consumer(log, durable)
    await _all_folded(bus)
    return events, time.monotonic() - began
