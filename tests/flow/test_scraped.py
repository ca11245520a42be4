"""What Debian's Prometheus sees of a real run: every query of dashboard and rules has data, and every sum is right."""

import asyncio
import json
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.flow.scraped import EDGES, INTERVAL, STATES, Run, running
from tests.kit import queries
from tests.kit.prometheus import PROGRAM
from tests.kit.road import RANKS
from tests.kit.waiting import eventually

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="prometheus is not installed: apt-get install prometheus has it"
)

EMPTY = {
    "Memory of the ranks' cards (A)": "the ranks run on a CPU",
    "Memory of the ranks' cards (B)": "the ranks run on a CPU",
    "Time to fetch and to decode an image, 95 % (A)": "all pictures come inline",
    "Files removed an hour, clean-ups put off (A)": "nothing is removed by a clean-up",
    "Size of streams (C)": "the account has no limit",
    "WanJetJetStreamNearlyFull": "the account has no limit",
    "WanJetCertificateEnds": "the edges speak no TLS",
}
"""Queries of this run that have no data, each with the reason."""


async def sums(run: Run, client: aiohttp.ClientSession) -> dict[str, float | None]:
    """What the run is to have counted, by the query that says it."""
    jobs, succeeded = run.submitted, run.ended["succeeded"]
    return {
        "sum(wanjet_jobs_accepted_total)": jobs,
        "sum(wanjet_jobs_ended_total)": jobs,
        **{f'sum(wanjet_jobs_ended_total{{ending="{how}"}})': count for how, count in run.ended.items()},
        'sum(wanjet_jobs_ended_total{ending="succeeded", model="tiny"})': succeeded,
        'sum(wanjet_http_requests_total{route="/video/submit", code="202"})': jobs,
        'sum(wanjet_refusals_total{reason="busy"})': 1,
        'sum(wanjet_refusals_total{reason="validation_error"})': 1,
        'sum(wanjet_job_run_seconds_count{ending="succeeded"})': succeeded,
        'sum(wanjet_attempts_begun_total{which="further"})': 1,
        "count(wanjet_jobs_limit)": 1,
        'sum(wanjet_webhook_deliveries_total{state="delivered"})': jobs,
        'sum(wanjet_webhook_tries_total{outcome="delivered"})': jobs,
        'sum(wanjet_webhook_tries_total{outcome="status"})': 1,
        "sum(wanjet_webhook_try_seconds_count)": jobs + 1,
        "sum(wanjet_state_serves_service)": 1,
        "count(wanjet_edge_ready == 1)": EDGES,
        'count(up{job="wanjet-state"} == 1)': STATES,
        "wanjet_jobs_unfinished": 0,
        "wanjet_state_lag_events": 0,
        "wanjet_ranks": RANKS,
    }


async def check_texts(run: Run, client: aiohttp.ClientSession) -> None:
    """Have promtool look at what every process serves, on its own port and on that of an edge."""
    ports = [port for ports in run.ports.values() for port in ports]
    for url in [*(f"http://127.0.0.1:{port}/metrics" for port in ports), f"{run.edges[0].url}/metrics"]:
        async with client.get(url, headers={"Accept": "text/plain"}) as answer:
            text = await answer.read()
        done = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b""), url


@pytest.mark.timeout(400)
async def test_every_query_has_data_and_every_sum_is_right(tmp_path: Path) -> None:
    async with running(tmp_path) as (run, client):
        await run.live_through(client)
        expected = await sums(run, client)

        async def wrong() -> dict[str, tuple[float | None, float | None]]:
            seen = {query: await run.prometheus.value(client, query) for query in expected}
            return {query: (seen[query], value) for query, value in expected.items() if seen[query] != value}

        async def right() -> bool:
            return await wrong() == {}

        try:
            await eventually(right, within_s=30)
        except AssertionError:
            raise AssertionError(await wrong()) from None
        for query in queries.of_dashboard():
            found = await run.prometheus.over_time(client, query.text_for(INTERVAL))
            assert bool(found) is (query.where not in EMPTY), query
        for query in queries.of_rules():
            seen = {metric: await run.prometheus.over_time(client, metric) for metric in query.metrics}
            assert all(seen.values()) is (query.where not in EMPTY), query
        states = await run.prometheus.alerts(client)
        assert states.keys() == {rule["alert"] for rule in queries.rules()}
        assert [name for name, state in states.items() if state == "firing"] == []
        await check_texts(run, client)
        holders = await run.prometheus.over_time(client, "wanjet_jobs_limit")
        assert len({json.loads(labels)["instance"] for labels in holders}) == STATES, "one after the other"
