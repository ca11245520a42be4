"""Poison messages and forged values in the broker stop neither edge nor state: no 500, no exit, no pause."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus
from tests.contracts.test_bounds import ABSURD, HEARTBEAT, MESSAGES, NOT_NUMBERS, STATUS, numbers, with_value
from tests.kit.broker import Broker, all_folded
from tests.kit.builders import ID, submitted
from tests.kit.edge import Edge, post, submit
from tests.kit.process import Process
from tests.kit.waiting import eventually

LITERALS = (*map(str, ABSURD), *NOT_NUMBERS)
GAP_S_MAX = 1.0
PAUSE_S = 0.02
COUNTERS = (b"banana", b"9" * 5000, b"-1", b"1e400", b"NaN", str(10**18).encode())


@asynccontextmanager
async def state(broker: Broker, edge: Edge, folder: Path) -> AsyncGenerator[Process, None]:
    stores = {"VIDEO_STORE_URL": str(edge.videos), "SCRATCH_STORE_URL": str(edge.scratch)}
    process = Process(
        ["-m", "services.state"], folder / "state.log", **broker.environment, **stores, CLEANUP_INTERVAL="0.5"
    ).start()
    try:
        await eventually(lambda: "state_ready" in process.text)
        yield process
    finally:
        await asyncio.to_thread(process.stop)


@asynccontextmanager
async def watched(client: aiohttp.ClientSession, edge: Edge) -> AsyncGenerator[None, None]:
    """Fails if `/livez` waits for longer than `GAP_S_MAX` inside the block."""
    over = asyncio.Event()
    gaps: list[float] = []

    async def look() -> None:
        while not over.is_set():
            began = time.monotonic()
            async with client.get(f"{edge.url}/livez") as answer:
                assert answer.status == 200
            gaps.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(look())
        yield
        over.set()
    assert max(gaps) < GAP_S_MAX


async def codes(client: aiohttp.ClientSession, edge: Edge, job_id: str) -> list[int]:
    """Return the status with which each kind of request is answered."""
    seen: list[int] = []
    for path, accept in (
        ("/health", "*/*"), ("/metrics", "*/*"), ("/metrics", "text/plain"), ("/readyz", "*/*"),
        (f"/video/status/{job_id}", "*/*"), (f"/videos/{job_id}.mp4", "*/*"),
    ):  # fmt: skip
        async with client.get(edge.url + path, headers={"Accept": accept}) as answer:
            seen.append(answer.status)
    code, answer = await submit(client, edge, image_size="256*144")
    if code == 202:
        seen.append((await post(client, f"{edge.url}/video/cancel", answer))[0])
    return [*seen, code]


async def test_no_number_in_any_message_harms_edge_or_state(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, tmp_path: Path
) -> None:
    async with state(broker, edge, tmp_path) as folding, watched(client, edge):
        number = 0
        for name, (payload, _) in MESSAGES.items():
            document = json.loads(payload)
            for path in numbers(document):
                number += 1
                job_id = f"{number:032x}"
                for turn, literal in enumerate(LITERALS):
                    forged = with_value(document, path, literal).replace(ID.encode(), job_id.encode())
                    if payload is HEARTBEAT:
                        await link.put_last(subjects.CLUSTERS_BUCKET, f"forged-{turn}", forged)
                    elif payload is STATUS:
                        await link.put_last(subjects.STATUS_BUCKET, job_id, forged)
                    else:
                        kind = subjects.event(wire.decode_event(payload)).split(".", 3)[3]
                        await link.publish(f"video.events.{job_id}.{kind}", forged, within_s=5)
                assert 500 not in await codes(client, edge, job_id), (name, path)
        assert edge.alive and folding.alive
        await eventually(lambda: all_folded(link), within_s=60)
        assert not [line for line in edge.lines if line["event"] == "internal_error"]


async def test_no_counter_harms_edge_or_state(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, tmp_path: Path
) -> None:
    async with state(broker, edge, tmp_path) as folding, watched(client, edge):
        for counter in COUNTERS:
            await link.put_last(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE, counter)
            assert 500 not in await codes(client, edge, ID), counter
            await link.publish(f"video.events.{ID}.step", b"x", within_s=5)
            await eventually(lambda: all_folded(link))
        assert folding.alive


async def test_headers_of_a_stored_message_are_not_taken_for_the_brokers_own(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, tmp_path: Path
) -> None:
    """Publish with the headers that the broker itself sets in its answer to a read."""
    payload = wire.encode(submitted())
    forged = {
        "Status": ("404", "204", "100", "408", "503", "banana"),
        "Nats-Sequence": ("banana", "-1", str(10**30)),
        "Nats-Num-Pending": ("banana", str(10**30)),
        "Nats-Time-Stamp": ("banana", "9999-99-99"),
        "Nats-Subject": ("video.events.x.finished.cancelled",),
    }
    async with state(broker, edge, tmp_path) as folding:
        job_ids: list[str] = []
        for name, values in forged.items():
            for value in values:
                job_id = f"{len(job_ids):032x}"
                job_ids.append(job_id)
                about = payload.replace(ID.encode(), job_id.encode())
                answer = await link.admin._nc.request(
                    f"video.events.{job_id}.submitted", about, timeout=5, headers={name: value}
                )
                assert "error" not in json.loads(answer.data)
        for job_id in job_ids:
            async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
                assert (answer.status, (await answer.json())["status"]) == (200, "InQueue"), job_id
        await eventually(lambda: all_folded(link), within_s=30)
        assert edge.alive and folding.alive
        events = await link.read(subjects.EVENTS_STREAM, subjects.ALL_SUBMISSIONS)
        assert {event.subject.split(".")[2] for event in events} >= set(job_ids)
