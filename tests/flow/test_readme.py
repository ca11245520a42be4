"""The examples of README, of the edge's page and of the events', run as they are printed but for the addresses."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp
import av

from contracts import subjects
from contracts.broker import Bus
from services.edge.body import submission
from tests.kit import auth
from tests.kit.machine import REPOSITORY
from tests.kit.pages import example
from tests.kit.process import environment
from tests.kit.road import Road
from tests.kit.waiting import eventually

EXAMPLE_WITHIN_S = 100
SUBSCRIBER_LINES_MAX = 10
EDGE = "services/edge/README.md"


def at(road: Road, block: str) -> str:
    """Return a block that speaks to a running stack, with this road's addresses."""
    found = block.replace("127.0.0.1:8088", f"127.0.0.1:{road.edge.port}")
    found = found.replace("nats://127.0.0.1:4222", road.broker.url)
    assert found != block
    return found


def run(road: Road, *command: str) -> tuple[Path, str]:
    """Run a command in a folder that has a `.venv`; return the folder and what was printed."""
    folder = road.folder / "readme"
    folder.mkdir(exist_ok=True)
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**road.variables, PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        check=False,
        timeout=EXAMPLE_WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def shape(mp4: Path) -> tuple[int, int, int]:
    with av.open(str(mp4)) as video:
        stream = video.streams.video[0]
        return stream.width, stream.height, stream.frames


@auth.WITHOUT_KEYS  # which the examples do not show
async def test_the_readme_submits_waits_and_downloads(road: Road, client: aiohttp.ClientSession) -> None:
    block = at(road, example("README.md", "/video/submit"))
    folder, printed = await asyncio.to_thread(run, road, "bash", "-euc", block)
    assert '"status":"Succeed"' in printed
    assert shape(folder / "boat.mp4") == (256, 144, 25)


@auth.WITHOUT_KEYS
async def test_the_http_examples_run_as_printed(road: Road, client: aiohttp.ClientSession) -> None:
    submit, follow, events, poll, ranged = (
        at(road, example(EDGE, words))
        for words in ("ops.local.sample_image", "urlretrieve", "Last-Event-ID", "?wait=30", "-r 0-99")
    )
    _, answered = await asyncio.to_thread(run, road, "bash", "-euc", submit)
    assert "requestId" in answered
    assert '"healthy"' in answered
    _, told = await asyncio.to_thread(run, road, sys.executable, "-c", events)
    assert [line.split()[1] for line in told.splitlines()][:2] == ["submitted", "started"]
    assert told.splitlines()[-1].split()[1] == "succeeded"
    _, polled = await asyncio.to_thread(run, road, "bash", "-euc", poll)
    assert '"status":"Succeed"' in polled
    folder, followed = await asyncio.to_thread(run, road, sys.executable, "-c", follow)
    assert "'Succeed'" in followed
    assert shape(folder / "boat.mp4") == (256, 144, 25)
    _, counted = await asyncio.to_thread(run, road, "bash", "-euc", ranged)
    assert counted.strip() == "100"


@auth.WITHOUT_KEYS
async def test_the_examples_of_uploads_and_of_the_openai_package_run_as_printed(
    road: Road, client: aiohttp.ClientSession
) -> None:
    await asyncio.to_thread(run, road, sys.executable, "-m", "ops.local.sample_image", "boat.png")
    _, answered = await asyncio.to_thread(run, road, "bash", "-euc", at(road, example(EDGE, "-F image=@boat.png")))
    assert answered.count('"requestId"') == 1
    assert answered.count('"id":"video_') == 3
    folder, printed = await asyncio.to_thread(
        run, road, sys.executable, "-W", "ignore", "-c", at(road, example(EDGE, "import openai"))
    )
    video_id, status, progress = printed.split()
    assert (video_id in answered, status, progress) == (True, "completed", "100")
    assert shape(folder / "boat.mp4") == (256, 144, 25)


def test_the_example_for_a_large_cluster_is_a_submission() -> None:
    body = example(EDGE, "edge.example.org").partition("-d '")[2].rpartition("'")[0]
    assert submission.parse(body.encode()).image_size == "1280*720"


async def test_the_subscriber_of_the_page_of_events_hears_every_ending_once(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    subscriber = at(road, example("contracts/events.md", "broker.subscribe"))
    assert len([line for line in subscriber.splitlines() if line.strip()]) <= SUBSCRIBER_LINES_MAX
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", subscriber, stdout=asyncio.subprocess.PIPE, env=environment()
    )
    try:
        assert process.stdout is not None
        await eventually(lambda: subscribed(road))
        ids = [await road.submit(client) for _ in range(10)]
        heard = [json.loads(await asyncio.wait_for(process.stdout.readline(), 60)) for _ in ids]
        for job_id in ids:
            await road.ended(client, job_id)
        endings = [await link.read(subjects.EVENTS_STREAM, subjects.endings_of(job_id)) for job_id in ids]
    finally:
        process.kill()
        rest, _ = await process.communicate()
    assert sorted(ending["requestId"] for ending in heard) == sorted(ids)
    assert rest == b""
    assert all(len(found) == 1 for found in endings)


def subscribed(road: Road) -> bool:
    """Whether somebody listens for endings, as the broker's monitor tells."""
    with urllib.request.urlopen(f"{road.broker.monitor_url}/connz?subs=true") as answer:  # noqa: S310  # the test's own
        connections = json.load(answer)["connections"]
    return any("video.live.*.finished.*" in connection.get("subscriptions_list", []) for connection in connections)
