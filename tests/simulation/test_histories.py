"""Histories in which anything may happen at any moment; afterwards everything is as it should be, without a hand."""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.events import Ending, Event, JobStarted
from contracts.status import JobStatus
from inference.leader.attempt_policy import Begin, JobFacts, Move, decide_next_move
from tests.simulation import world
from tests.simulation.world import Process, World, history

SEEDS = range(500)
take_slot = World.take_slot


@given(st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_happens_every_job_ends_once_and_as_its_log_says(numbers: random.Random) -> None:
    history(numbers.randrange)


@pytest.mark.parametrize("seed", range(20))
def test_a_history_can_be_had_again_by_its_seed(seed: int) -> None:
    first, second = (history(random.Random(seed).randrange) for _ in range(2))
    assert first.log == second.log


def without_a_fence(kind: type[JobStarted] | type[Ending]) -> Callable[..., None]:
    publish = World.publish

    def careless(self: World, event: Event, expected: int | None = None) -> None:
        publish(self, event, None if isinstance(event, kind) else expected)

    return careless


def the_last_word(before: JobStatus | None, event: Event) -> JobStatus:
    status = before or JobStatus(job_id=event.job_id)
    return replace(status, attempt=getattr(event, "attempt", 0))


def impatient(facts: JobFacts, *, max_attempts: int) -> Move:
    return decide_next_move(facts, max_attempts=1)


def forgetful(facts: JobFacts, *, max_attempts: int) -> Move:
    move = decide_next_move(facts, max_attempts=max_attempts)
    return Begin(1, move.after) if isinstance(move, Begin) else move


def without_counting(self: World, job_id: str, counted: int) -> int:
    return take_slot(self, job_id, max(self.slots, default=0))


def idle(_: World) -> Process:
    while True:
        yield


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (World, "publish", without_a_fence(Ending)),  # pyright: ignore[reportArgumentType]  # a union of types
        (World, "publish", without_a_fence(JobStarted)),
        (world, "fold", the_last_word),
        (world, "decide_next_move", impatient),
        (world, "decide_next_move", forgetful),
        (world, "reconcile", idle),
        (World, "purge", lambda *_: None),
        (World, "take_slot", without_counting),
        (world, "keep_slots", lambda _: None),
    ],
    ids=["endings", "starts", "fold", "attempts", "numbers", "reconcile", "purge", "slots", "left-over slots"],
)
def test_what_is_broken_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, broken: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError):
        all(history(random.Random(seed).randrange) for seed in SEEDS)
