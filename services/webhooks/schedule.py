"""Decide what follows a try of a webhook: delivered, gone, given up, or the next try and when. Pure.

`deliver` calls `after_try` with the outcome of each. Pauses grow, with jitter, for 24 hours from the delivery's
beginning; the last try is at the end of these.
"""

from msgspec import Struct
from msgspec.structs import replace

from contracts.webhook import TRIES_MAX, Failure, WebhookDelivery, WebhookTry

PAUSES_S = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 21600, 36000)
"""The pause after each failed try; with the last one, 24 hours are over."""
GIVE_UP_AFTER_S = 24 * 3600
RETRY_AFTER_S_MAX = 3600
"""The longest `Retry-After` that is respected."""
JITTER = 0.2
"""A pause is up to this share of itself longer or shorter."""
PUT_OFF_S_MAX = 3600.0
PUT_OFF_DOUBLINGS_MAX = 12

GONE = 410


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of one try: the HTTP status or None, the failure or None for a success, and seconds it took.

    `retry_after_s` is what the target asks for, None if it asks for nothing. `why` and `allowed_by` are for the log
    alone: the error, and the setting that would allow a forbidden address.
    """

    code: int | None = None
    failure: Failure | None = None
    duration_s: float = 0.0
    retry_after_s: float | None = None
    why: str | None = None
    allowed_by: str | None = None


def after_try(
    before: WebhookDelivery, outcome: Outcome, *, began_at: float, now: float, scale: float, draw: float
) -> WebhookDelivery:
    """Return the delivery after one more try, which began at `began_at` and is over `now`, by the broker's clock.

    `scale` multiplies every pause; `draw`, from 0 to 1, is the jitter's random number.
    """
    made = WebhookTry(
        number=len(before.tries) + 1,
        at=began_at,
        code=outcome.code,
        failure=outcome.failure,
        duration=round(outcome.duration_s, 3),
    )
    tried = replace(before, tries=[*before.tries, made], next_at=None)
    if outcome.failure is None:
        return replace(tried, state="delivered")
    if outcome.code == GONE:
        return replace(tried, state="gone")
    left_s = gives_up_at(before, scale) - now
    if left_s < PAUSES_S[0] * scale or len(tried.tries) >= TRIES_MAX:
        return replace(tried, state="given_up")
    pause_s = PAUSES_S[min(len(before.tries), len(PAUSES_S) - 1)] * (1 + JITTER * (2 * draw - 1))
    asked_s = min(outcome.retry_after_s or 0, RETRY_AFTER_S_MAX)
    return replace(tried, next_at=now + min(max(pause_s, asked_s) * scale, left_s))


def gives_up_at(delivery: WebhookDelivery, scale: float) -> float:
    """Return when the last try is due, in Unix seconds."""
    return (delivery.created_at or 0) + GIVE_UP_AFTER_S * scale


def put_off_s(times: int, draw: float) -> float:
    """Return for how long a try is put off that finds no place, the `times`-th time in a row from 0. Doubles each time.

    `draw` is from 0 to 1.
    """
    return min(PUT_OFF_S_MAX, 2.0 ** min(times, PUT_OFF_DOUBLINGS_MAX)) * (0.5 + draw)
