"""What a webhook service counts, as `nats service stats` shows it and as Prometheus reads it."""

from collections.abc import Callable

import aiohttp

from contracts.broker import Bus
from services.webhooks.numbers import WebhookNumbers
from services.webhooks.targets import Targets
from tests.kit.machine import free_port
from tests.kit.scrape import scrape
from tests.kit.waiting import eventually
from tests.services.webhooks.jobs import Service, submit_and_end
from tests.services.webhooks.targets import Loopback, says, silent, status

Start = Callable[..., Service]


def test_counts_of_tries_and_of_deliveries_that_are_over() -> None:
    numbers = WebhookNumbers(Targets())
    assert (numbers.now()["tries"], numbers.now()["average_ms"], numbers.now()["last_tried_at"]) == (0, 0.0, None)
    for failure, seconds in (("timeout", 0.1), ("status", 0.3), (None, 0.2), ("status", 0.2)):
        numbers.tried(failure, seconds)  # pyright: ignore[reportArgumentType]
    numbers.put_off()
    for state in ("pending", "pending", "delivered", "gone"):
        numbers.recorded(state)  # pyright: ignore[reportArgumentType]
    now = numbers.now()
    assert (now["tries"], now["tries_failed"], now["delivered"], now["gone"], now["given_up"]) == (4, 3, 1, 1, 0)
    assert (now["tries_put_off"], now["average_ms"]) == (1, 200.0)


def test_tries_under_way_are_told_by_how_their_target_answered_last() -> None:
    targets = Targets()
    running = WebhookNumbers(targets).metrics.all["wanjet_webhook_tries_running"]
    assert running.read() == {("proven",): 0, ("unproven",): 0, ("failing",): 0}
    targets.note("https://dead.example", is_well=False)
    with targets.place("https://dead.example"), targets.place("https://new.example"):
        assert running.read() == {("proven",): 0, ("unproven",): 1, ("failing",): 1}
    assert set(running.read().values()) == {0}


async def test_prometheus_reads_what_was_tried_and_what_is_under_way(link: Bus, web: Loopback, services: Start) -> None:
    port = free_port()
    well, dead, gone, hanging = [
        await web.target(answer) for answer in (says(status(204)), says(status(500)), says(status(410)), silent)
    ]
    services(METRICS_HOST="127.0.0.1", METRICS_PORT=str(port), WEBHOOK_PAUSES_SCALE="0.5")
    for number, target in enumerate((well, dead, gone)):
        await submit_and_end(link, number, target.url)
    await submit_and_end(link, 9, hanging.url)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as client:

        async def told() -> bool:
            seen = await scrape(client, port)
            if seen is None:
                return False
            tries, over = "wanjet_webhook_tries_total", "wanjet_webhook_deliveries_total"
            return (
                seen.value(tries, outcome="delivered") == 1
                and seen.value(tries, outcome="status") >= 2
                and (seen.value(over, state="delivered"), seen.value(over, state="gone")) == (1, 1)
                and seen.value("wanjet_webhook_try_seconds_count") == seen.value(tries)
                and seen.value("wanjet_webhook_tries_running") >= 1
                and seen.value("wanjet_broker_connected") == 1
                and seen.value("wanjet_deliveries_total", consumer="webhooks") == 4
                and seen.value("wanjet_deliveries_total", consumer="webhooks-due") >= 4
                and seen.has("wanjet_build_info")
            )

        await eventually(told, within_s=20)
