from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.webhook import TRIES_MAX, Failure, WebhookDelivery
from services.webhooks.schedule import (
    GIVE_UP_AFTER_S,
    JITTER,
    PAUSES_S,
    PUT_OFF_S_MAX,
    RETRY_AFTER_S_MAX,
    Outcome,
    after_try,
    put_off_s,
)
from tests.kit.builders import ID

BEGAN = 1_700_000_000.0
NEW = WebhookDelivery(job_id=ID, webhook_id=f"{ID}_succeeded", host="a.test", created_at=BEGAN, next_at=BEGAN)


def tried(before: WebhookDelivery, outcome: Outcome, *, scale: float = 1.0, draw: float = 0.5) -> WebhookDelivery:
    assert before.next_at is not None
    return after_try(before, outcome, began_at=before.next_at, now=before.next_at + 0.2, scale=scale, draw=draw)


@given(st.lists(st.floats(0, 1), min_size=TRIES_MAX, max_size=TRIES_MAX), st.sampled_from([1.0, 0.01, 0.0001]))
def test_a_target_that_fails_is_tried_with_growing_pauses_for_a_day_and_then_given_up(
    draws: list[float], scale: float
) -> None:
    delivery, draw = NEW, iter(draws)
    while delivery.state == "pending":
        delivery = tried(delivery, Outcome(code=500, failure="status"), scale=scale, draw=next(draw))
    assert (delivery.state, delivery.next_at) == ("given_up", None)
    assert [each.number for each in delivery.tries] == list(range(1, len(delivery.tries) + 1))
    pauses = [(after.at - before.at - 0.2) / scale for before, after in pairwise(delivery.tries)]
    for pause, meant in zip(pauses[:-1], PAUSES_S, strict=False):
        assert meant * (1 - JITTER) - 0.1 <= pause <= meant * (1 + JITTER) + 0.1
    day = (delivery.tries[-1].at - BEGAN) / scale
    assert day == pytest.approx(GIVE_UP_AFTER_S, abs=PAUSES_S[0] + 1 / scale)


def test_a_success_ends_it() -> None:
    delivered = tried(tried(NEW, Outcome(failure="timeout")), Outcome(code=204))
    assert (delivered.state, delivered.next_at) == ("delivered", None)
    assert [(each.code, each.failure) for each in delivered.tries] == [(None, "timeout"), (204, None)]


def test_410_ends_it() -> None:
    assert tried(NEW, Outcome(code=410, failure="status")).state == "gone"


@pytest.mark.parametrize("failure", ["redirect", "status", "unreachable", "timeout", "tls", "no_http"])
def test_every_other_failure_is_tried_again(failure: Failure) -> None:
    after = tried(NEW, Outcome(failure=failure))
    assert (after.state, after.next_at) == ("pending", pytest.approx(BEGAN + 0.2 + PAUSES_S[0]))


@pytest.mark.parametrize(
    ("asked_s", "pause_s"), [(0, PAUSES_S[0]), (1, PAUSES_S[0]), (60, 60), (10**9, RETRY_AFTER_S_MAX)]
)
def test_retry_after_lengthens_a_pause_within_its_cap(asked_s: float, pause_s: float) -> None:
    after = tried(NEW, Outcome(code=429, failure="status", retry_after_s=asked_s))
    assert after.next_at == pytest.approx(BEGAN + 0.2 + pause_s)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_a_try_without_a_place_is_put_off_for_longer_each_time(times: int, draw: float) -> None:
    pause_s = put_off_s(times, draw)
    assert 0.5 <= pause_s <= 1.5 * PUT_OFF_S_MAX
    assert pause_s <= put_off_s(times + 1, draw)
