"""Estimate when a place for another job will be free, for the `Retry-After` of a full queue (backpressure).

A place is freed by the end of a running job, of which `forecast` knows. `jobs` asks for each refusal.
"""

import math
from collections.abc import Set as AbstractSet

from services.edge.forecast import Forecast, Forecasts
from services.edge.payloads import RETRY_AFTER_S

NOBODY_WORKS_S = 60
RETRY_AFTER_S_MIN, RETRY_AFTER_S_MAX = 2, 600


class RetryAfter:
    """Keeps the last estimate. One for the process."""

    def __init__(self, forecasts: Forecasts) -> None:
        self._forecasts = forecasts
        self._seconds = RETRY_AFTER_S

    async def seconds(self, job_ids: AbstractSet[str] | None = None) -> int:
        """Return in how many whole seconds a place may be free, between `RETRY_AFTER_S_MIN` and `RETRY_AFTER_S_MAX`.

        With `job_ids` the place is that of one of these jobs.

        If the broker does not answer in time, the last estimate stands, and `RETRY_AFTER_S` before the first one.
        """
        forecast = await self._forecasts.latest()
        if forecast is not None:
            self._seconds = _bounded(self._estimated(forecast))
            if job_ids is not None and (known := _ends_s(forecast, job_ids)):
                return _bounded(min(known))
        return self._seconds

    def _estimated(self, forecast: Forecast) -> float:
        """Return the seconds until the first running job ends.

        Without clusters that is `NOBODY_WORKS_S`. If the end of no job is known, it is the time of a whole job, or
        `RETRY_AFTER_S`.
        """
        if not forecast.any_cluster:
            return NOBODY_WORKS_S
        known = [seconds for seconds in forecast.left_s.values() if seconds is not None]
        return min(known, default=RETRY_AFTER_S if forecast.usual_s is None else forecast.usual_s)


def _ends_s(forecast: Forecast, job_ids: AbstractSet[str]) -> list[float]:
    """Return in how many seconds each of these jobs ends whose end is known, running or waiting."""
    waiting = {} if forecast.ahead is None else forecast.ahead.ends_s
    ends = [forecast.left_s.get(job_id, waiting.get(job_id)) for job_id in job_ids]
    return [seconds for seconds in ends if seconds is not None]


def _bounded(seconds: float) -> int:
    return min(max(math.ceil(seconds), RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)
