"""A hundred dead targets delay a live one by no more than a second."""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import pytest

from contracts.broker import Bus
from tests.kit.waiting import eventually
from tests.services.webhooks.jobs import Service, submit_and_end
from tests.services.webhooks.targets import Loopback, Target, endless, says, silent, slow, status

DEAD = {
    "refused": None,
    "silent": silent,
    "slow": slow,
    "500": says(status(500)),
    "410": says(status(410)),
    "redirect to a private address": says(status(302, "Location: http://10.0.0.1/hook")),
}
TARGETS = 100
JOBS_OF_EACH = 4
LIVE_JOBS = 20
LATER_S_MAX = 1.0


async def delays_among(link: Bus, live: Target, others: Sequence[Target], first: int) -> list[float]:
    """Have jobs end for other targets, and then for the live one; return its seconds from an ending to its request."""
    for number in range(JOBS_OF_EACH * len(others)):
        await submit_and_end(link, first + 1000 + number, others[number % len(others)].url)
    delays: list[float] = []
    for number in range(first, first + LIVE_JOBS):
        began = time.monotonic()
        job = await submit_and_end(link, number, live.url)
        await eventually(lambda job=job: live.of(job), within_s=30)
        delays.append(live.of(job)[0].at - began)
    return delays


@pytest.mark.timeout(240)
async def test_a_hundred_dead_targets_delay_a_live_one_by_a_second_at_most(
    link: Bus, web: Loopback, services: Callable[..., Service]
) -> None:
    """Measure a live target amid a hundred that live, and then amid a hundred dead ones: first tries and retries."""
    services(WEBHOOK_PAUSES_SCALE="0.05")
    live = await web.target(says(status(204)))
    await delays_among(link, live, [], 0)  # until the service has started
    well = [await web.target(says(status(204))) for _ in range(TARGETS)]
    without = await delays_among(link, live, well, 10_000)
    kinds = list(DEAD.values())
    dead = [await web.target(kinds[number % len(kinds)]) for number in range(TARGETS)]
    among = await delays_among(link, live, dead, 20_000)
    sys.stdout.write(
        f"\nms from an ending to the request of a live target, amid {TARGETS} others with {JOBS_OF_EACH} jobs each: "
        f"the others alive, median {1000 * median(without):.0f}, worst {1000 * max(without):.0f}; "
        f"dead, median {1000 * median(among):.0f}, worst {1000 * max(among):.0f}\n"
    )
    assert sum(len(target.requests) for target in dead) >= TARGETS / 2
    assert max(among) <= max(without) + LATER_S_MAX


async def test_a_body_without_end_is_not_read(link: Bus, web: Loopback, services: Callable[..., Service]) -> None:
    target = await web.target(endless)
    services()
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: target.of(job))
