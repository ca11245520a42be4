"""`python -m tests.fuzz.run SECONDS`: schemathesis against edges on brokers of their own, by the edge's own document.

For so many seconds without keys, and for as many with a key of all scopes (`--auth` chooses one of the two). Knows
which requests were answered how, and that none may be an error of ours; the checks are schemathesis's.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import get_args

import aiohttp

from contracts.api_key import Scope
from contracts.broker import Bus, bus
from contracts.job import video_name
from contracts.video_files import VARIANTS, picture_name
from ops import provision
from tests.kit.auth import known
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import PROMPT, Edge, picture
from tests.kit.machine import REPOSITORY
from tests.services.edge.auth.holders import holder
from tests.services.edge.test_edge import cluster
from tests.services.edge.test_webhooks import switch_on
from tests.services.edge.v1.asking import end

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
WITH_KEY = Path(__file__).parent / "keys.toml"
HOOKS = Path(__file__).parent / "hooks.py"
REPORT = REPOSITORY / ".wanjet" / "fuzz"
JOBS_MAX = 100_000  # nobody works: every job that is accepted stays
FORGOTTEN = "0" * 32
"""A job that the log has forgotten, whose video is still there. The configuration names it."""
VIDEO_BYTES = 4096
BEAT_EVERY_S = 1.0
WAYS = ("off", "keys")


async def run(auth: str, seconds: int, seed: int | None) -> int:
    print(f"\nAUTH={auth}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder / "jetstream")
        edge = Edge(folder, broker, AUTH=auth, **({"SHOW_ALL_JOBS": "1"} if auth == "off" else {}))
        broker.start()
        try:
            async with bus.connect(broker.url, name="fuzz") as link:
                configuration = await _start(edge, broker, link, folder, auth)
                async with _beating(link):
                    code = await asyncio.to_thread(_fuzz, edge.url, configuration, seconds, seed)
            return _look_back(edge) or code
        finally:
            if edge.alive:
                edge.stop()
            broker.kill()


async def _start(edge: Edge, broker: Broker, link: Bus, folder: Path, auth: str) -> Path:
    """Start the edge, with a video and two jobs, and return the configuration that names them, and a key if needed."""
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=JOBS_MAX))
    await switch_on(link)
    edge.start()
    shown: dict[str, str] = {} if auth == "off" else await holder(link, "acme", *get_args(Scope))
    async with aiohttp.ClientSession() as client:
        await edge.ready(client)
        await known(client, edge.url, shown)
        finished, waiting = [await _submitted(client, edge, shown) for _ in range(2)]
    (edge.videos / video_name(FORGOTTEN)).write_bytes(bytes(VIDEO_BYTES))
    await end(link, edge, {"id": f"video_{finished}"})
    for variant in VARIANTS:
        (edge.videos / picture_name(finished, variant)).write_bytes(bytes(VIDEO_BYTES))
    text = CONFIGURATION.read_text().replace("{FINISHED}", finished).replace("{WAITING}", waiting)
    if shown:
        text += WITH_KEY.read_text().replace("{KEY}", shown["Authorization"].removeprefix("Bearer "))
    (folder / CONFIGURATION.name).write_text(f'hooks = "{HOOKS}"\n{text}')
    return folder / CONFIGURATION.name


async def _submitted(client: aiohttp.ClientSession, edge: Edge, shown: dict[str, str]) -> str:
    body = {"prompt": PROMPT, "image_url": picture(), "webhook_url": "https://hooks.example.org/done"}
    async with client.post(f"{edge.url}/video/submit", json=body, headers=shown) as answer:
        assert answer.status == 202, await answer.text()
        return (await answer.json())["requestId"]


@asynccontextmanager
async def _beating(link: Bus) -> AsyncGenerator[None, None]:
    """Have a cluster that lives, though it works on nothing."""
    over = asyncio.Event()

    async def beat() -> None:
        while not over.is_set():
            await cluster(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY_S):
                    await over.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat())
        try:
            yield
        finally:
            over.set()


def _fuzz(url: str, configuration: Path, seconds: int, seed: int | None) -> int:
    REPORT.mkdir(parents=True, exist_ok=True)
    asked = ["run", f"{url}/docs/openapi.json", f"--max-time={seconds}"]
    seeded = [] if seed is None else [f"--seed={seed}"]
    report = ["--report=ndjson", f"--report-dir={REPORT}"]
    command = [SCHEMATHESIS, "--config-file", configuration, *asked, *seeded, *report]
    return subprocess.run(command, check=False).returncode


def _look_back(edge: Edge) -> int:
    """Print the answers; 0 where the edge lives and none of its errors was its own."""
    served = [line for line in edge.lines if line["event"] == "request_served"]
    counted = Counter((line["status"], line["method"], line["path"].split("/")[1]) for line in served)
    for (status, method, path), count in sorted(counted.items()):
        print(f"{count:7} {status} {method} /{path}")
    errors = [line for line in edge.lines if line["event"] == "internal_error"]
    denied = [line for line in edge.lines if line["event"] == "right_denied"]
    life = "lives" if edge.alive else "has died"
    print(f"{len(errors)} internal errors, {len(denied)} rights denied by the broker; the edge {life}")
    return 0 if edge.alive and not errors and not denied else 1


async def main() -> int:
    parser = argparse.ArgumentParser(prog="just fuzz")
    parser.add_argument("seconds", type=int, help="for each way of asking for keys")
    parser.add_argument("--auth", choices=WAYS, help="fuzz one of the two alone")
    parser.add_argument("--seed", type=int, help="of the requests; schemathesis names the one it has drawn")
    asked = parser.parse_args()
    codes = [await run(auth, asked.seconds, asked.seed) for auth in ([asked.auth] if asked.auth else WAYS)]
    return max(codes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
