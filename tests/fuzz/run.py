"""`python -m tests.fuzz.run SECONDS`: schemathesis against an edge on a broker of its own, by the edge's own document.

Knows which requests were answered how, and that none may be an error of ours; the checks are schemathesis's.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp

from contracts.broker import bus
from contracts.job import video_name
from ops import provision
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge
from tests.kit.machine import REPOSITORY

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
REPORT = REPOSITORY / ".wanjet" / "fuzz"
JOBS_MAX = 100_000  # nobody works: every job that is accepted stays
VIDEO_OF = "0" * 32  # of a job long forgotten; the configuration names it
VIDEO_BYTES = 4096


async def run(seconds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "jetstream")
        edge = Edge(Path(folder), broker)
        broker.start()
        try:
            await _start(edge, broker)
            code = await asyncio.to_thread(_fuzz, edge.url, seconds)
            return _look_back(edge) or code
        finally:
            if edge.alive:
                edge.stop()
            broker.kill()


async def _start(edge: Edge, broker: Broker) -> None:
    async with bus.connect(broker.url, name="fuzz") as link:
        await provision.provision(link, provision_settings(broker, max_concurrent_tasks=JOBS_MAX))
    edge.start()
    async with aiohttp.ClientSession() as client:
        await edge.ready(client)
    (edge.videos / video_name(VIDEO_OF)).write_bytes(bytes(VIDEO_BYTES))


def _fuzz(url: str, seconds: int) -> int:
    REPORT.mkdir(parents=True, exist_ok=True)
    asked = ["run", f"{url}/docs/openapi.json", f"--max-time={seconds}"]
    report = ["--report=ndjson", f"--report-dir={REPORT}"]
    return subprocess.run([SCHEMATHESIS, "--config-file", CONFIGURATION, *asked, *report], check=False).returncode


def _look_back(edge: Edge) -> int:
    """Print the answers; 0 where the edge lives and none of its errors was its own."""
    served = [line for line in edge.lines if line["event"] == "request_served"]
    counted = Counter((line["status"], line["method"], line["path"].split("/")[1]) for line in served)
    for (status, method, path), count in sorted(counted.items()):
        print(f"{count:7} {status} {method} /{path}")
    errors = [line for line in edge.lines if line["event"] == "internal_error"]
    print(f"{len(errors)} internal errors; the edge {'lives' if edge.alive else 'has died'}")
    return 0 if edge.alive and not errors else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run(int(sys.argv[1]))))
