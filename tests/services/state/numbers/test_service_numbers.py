"""Exactly one state process serves the numbers of the whole service, and they are right whoever it is."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from services.state.numbers.lock import TRY_EVERY_S, TTL_S
from tests.kit.broker import Broker
from tests.kit.lives import end, name, start, submit
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.scrape import Scraped, scrape
from tests.kit.waiting import eventually

TAKEN_OVER_WITHIN_S = TTL_S + 2 * TRY_EVERY_S + 4
ONE = "wanjet_jobs_limit"
"""A metric of the whole service."""


class State(Process):
    """A state process whose metrics are served."""

    def __init__(self, folder: Path, broker: Broker, number: int) -> None:
        self.port = free_port()
        super().__init__(
            ["-m", "services.state"],
            folder / f"state-{number}.log",
            **broker.environment,
            VIDEO_STORE_URL=str(folder / "videos"),
            SCRATCH_STORE_URL=str(folder / "scratch"),
            METRICS_HOST="127.0.0.1",
            METRICS_PORT=str(self.port),
        )


@pytest.fixture
async def states(tmp_path: Path, broker: Broker, link: Bus) -> AsyncGenerator[list[State], None]:
    started = [State(tmp_path, broker, number) for number in range(2)]
    for state in started:
        state.start()
    await eventually(lambda: all("state_ready" in state.text for state in started))  # before that a signal ends them
    yield started
    for state in started:
        if state.alive:
            state.send(signal.SIGCONT)
            assert await asyncio.to_thread(state.stop) == 0, state.text


@pytest.fixture
async def client() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as client:
        yield client


async def served(client: aiohttp.ClientSession, states: list[State]) -> list[Scraped]:
    """What the states serve that live, and at most one of them the whole service's."""
    found = [await scrape(client, state.port) for state in states]
    scraped = [each for each in found if each is not None]
    assert sum(each.has(ONE) for each in scraped) <= 1
    return scraped


async def holder(client: aiohttp.ClientSession, states: list[State], *, within_s: float = 30) -> State:
    """Wait until one state serves the whole service, and return it."""

    async def one() -> State | None:
        for state in states:
            scraped = await scrape(client, state.port) if state.alive else None
            if scraped is not None and scraped.has(ONE):
                return state
        return None

    found = await eventually(one, within_s=within_s)
    assert found is not None
    return found


async def counted(client: aiohttp.ClientSession, states: list[State], **expected: float) -> None:
    """Wait until the sums over all states are these: of accepted jobs, and of jobs by ending."""

    async def are_so() -> bool:
        scraped = await served(client, [state for state in states if state.alive])
        if not any(each.has(ONE) for each in scraped):
            return False
        (of_all,) = [each for each in scraped if each.has(ONE)]
        accepted = of_all.value("wanjet_jobs_accepted_total")
        ended = {how: of_all.value("wanjet_jobs_ended_total", ending=how) for how in expected if how != "accepted"}
        return {"accepted": accepted, **ended} == expected

    await eventually(are_so, within_s=30)


@pytest.mark.timeout(180)
async def test_sums_are_right_over_two_states_kills_and_restarts(
    link: Bus, states: list[State], client: aiohttp.ClientSession
) -> None:
    first = await holder(client, states)
    for number in range(4):
        await submit(link, name(number))
        await start(link, name(number))
        await end(link, name(number), "failed" if number == 3 else "succeeded")
    await counted(client, states, accepted=4, succeeded=3, failed=1)
    first.kill()
    (other,) = [state for state in states if state is not first]
    assert await holder(client, [other], within_s=TAKEN_OVER_WITHIN_S) is other
    await submit(link, name(9))
    await end(link, name(9), "cancelled")
    await counted(client, [other], accepted=5, succeeded=3, failed=1, cancelled=1)
    first.start()
    await eventually(lambda: first.text.count("state_ready") == 2, within_s=30)
    await counted(client, states, accepted=5, succeeded=3, failed=1, cancelled=1)
    assert await asyncio.to_thread(other.stop) == 0
    assert await holder(client, [first], within_s=TAKEN_OVER_WITHIN_S) is first, "who is told to stop gives it up"
    await counted(client, [first], accepted=5, succeeded=3, failed=1, cancelled=1)


@pytest.mark.timeout(120)
async def test_a_frozen_holder_serves_nothing_of_the_whole_once_it_wakes(
    link: Bus, states: list[State], client: aiohttp.ClientSession
) -> None:
    frozen = await holder(client, states)
    (other,) = [state for state in states if state is not frozen]
    frozen.send(signal.SIGSTOP)
    await holder(client, [other], within_s=TAKEN_OVER_WITHIN_S)
    frozen.send(signal.SIGCONT)

    async def serves_its_own() -> bool:
        scraped = await scrape(client, frozen.port)
        if scraped is None:
            return False
        assert not scraped.has(ONE)
        return scraped.value("wanjet_state_serves_service") == 0

    await eventually(serves_its_own)


@pytest.mark.timeout(120)
async def test_the_queue_is_seen_as_it_is_and_a_broker_that_is_away_has_no_numbers(
    link: Bus, states: list[State], client: aiohttp.ClientSession, broker: Broker
) -> None:
    state = await holder(client, states)
    await submit(link, name(1))
    await submit(link, name(2))

    async def seen() -> Scraped | None:
        scraped = await scrape(client, state.port)
        aged = scraped is not None and scraped.value("wanjet_oldest_waiting_job_age_seconds") > 1
        return scraped if aged else None

    scraped = await eventually(seen, within_s=20)
    assert scraped is not None
    assert scraped.value("wanjet_jobs_waiting") == scraped.value("wanjet_jobs_unfinished") == 2
    assert scraped.value("wanjet_jobs_limit") == 5
    assert scraped.value("wanjet_clusters") == scraped.value("wanjet_jobs_running") == 0
    assert scraped.value("wanjet_stream_messages", stream=subjects.JOBS_STREAM) == 2
    assert scraped.value("wanjet_stream_limit_messages", stream=subjects.JOBS_STREAM) == 5
    assert scraped.value("wanjet_stream_limit_bytes", stream=subjects.EVENTS_STREAM) == 1024**3
    assert scraped.value("wanjet_jetstream_storage_bytes") > 0
    assert scraped.value("wanjet_store_limit_bytes") == 50e9
    assert scraped.value("wanjet_store_bytes") == 0
    assert scraped.value("wanjet_jetstream_advisories_total", kind="max_deliveries") == 0
    broker.kill()

    async def without() -> bool:
        scraped = await scrape(client, state.port)
        return scraped is not None and not scraped.has(ONE) and scraped.value("wanjet_broker_connected") == 0

    await eventually(without, within_s=20)
    broker.start()
    await holder(client, states, within_s=40)


async def test_advisories_are_counted_by_kind(link: Bus, states: list[State], client: aiohttp.ClientSession) -> None:
    state = await holder(client, states)
    await link.admin.update_stream((await link.stream(subjects.CANARY_STREAM)).config)

    async def updated() -> bool:
        scraped = await scrape(client, state.port)
        return scraped is not None and scraped.value("wanjet_jetstream_advisories_total", kind="stream_updated") >= 1

    await eventually(updated)
