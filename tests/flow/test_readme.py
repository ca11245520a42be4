"""The README's examples, run as they are printed but for the addresses."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request

import aiohttp
import av

from contracts import subjects
from contracts.broker import Bus
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment
from tests.kit.road import Road
from tests.kit.waiting import eventually

EXAMPLE_WITHIN_S = 100
README = (REPOSITORY / "README.md").read_text()
SUBSCRIBER_LINES_MAX = 10


def examples(language: str, road: Road) -> list[str]:
    """The blocks that speak to a running stack, at this road's addresses."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    blocks = [block for block in found if "127.0.0.1" in block]
    return [
        block.replace("127.0.0.1:8088", f"127.0.0.1:{road.edge.port}").replace("nats://127.0.0.1:4222", road.broker.url)
        for block in blocks
    ]


def run(road: Road, command: list[str]) -> str:
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
    return done.stdout


async def test_the_http_examples_run_as_printed(road: Road, client: aiohttp.ClientSession) -> None:
    submit, ranged = examples("sh", road)
    follow, _subscribe = examples("python", road)
    answered = await asyncio.to_thread(run, road, ["bash", "-euc", submit])
    assert "requestId" in answered
    assert '"healthy"' in answered
    followed = await asyncio.to_thread(run, road, [sys.executable, "-c", follow])
    assert "'Succeed'" in followed
    with av.open(str(road.folder / "readme" / "boat.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (256, 144, 25)
    assert (await asyncio.to_thread(run, road, ["bash", "-euc", ranged])).strip() == "100"


async def test_the_subscriber_of_the_readme_hears_every_ending_once(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    subscriber = examples("python", road)[-1]
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
