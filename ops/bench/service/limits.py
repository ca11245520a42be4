"""Measures bare round trips to a broker, as limits: `python -m ops.bench.service.limits WHAT URL SECONDS CLIENTS JOBS`.

Runs on the core of the service under test, under uvloop as that does, with nothing around nats-py. WHAT is `publish`
(a job into the queue), `get` (a direct get of a status among those of JOBS jobs), or `put-get` (a status written and
read again). Prints `Trips` as JSON.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import nats
import uvloop
from msgspec import Struct
from nats.js.client import JetStreamContext

from contracts import subjects, wire
from contracts.fold import fold_all
from ops.bench.service.events import submission
from ops.bench.service.fill import life
from ops.bench.service.ids import polled
from ops.bench.service.processes import Cores
from ops.local.paths import REPOSITORY

STATUSES = subjects.bucket_stream(subjects.STATUS_BUCKET)


class Trips(Struct, frozen=True):
    """The figures of bare round trips; `cpu_ms` is the CPU time of their process for each."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def trips(what: str, url: str, cores: Cores, *, seconds: float, clients: int, jobs: int = 0) -> Trips:
    """Return the figures of a process of its own. Raises `subprocess.CalledProcessError`."""
    command = [sys.executable, "-m", "ops.bench.service.limits", what, url, str(seconds), str(clients), str(jobs)]
    done = subprocess.run(
        ["taskset", "-c", cores.service, *command], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=Trips)


async def measure(what: str, url: str, seconds: float, clients: int, jobs: int) -> Trips:
    """Return the figures of so many concurrent clients on one connection."""
    connection = await nats.connect(url)
    took: list[float] = []
    try:
        trip = _trip(what, connection.jetstream(), jobs)
        began, cpu = time.monotonic(), time.process_time()

        async def client() -> None:
            while time.monotonic() < began + seconds:
                start = time.monotonic()
                await trip()
                took.append(time.monotonic() - start)

        await asyncio.gather(*(client() for _ in range(clients)))
        passed, cpu = time.monotonic() - began, time.process_time() - cpu
    finally:
        await connection.close()
    took.sort()
    p99 = took[len(took) * 99 // 100]
    return Trips(len(took) / passed, 1000 * statistics.median(took), 1000 * p99, 1000 * cpu / len(took))


def _trip(what: str, stream: JetStreamContext, jobs: int) -> Callable[[], Awaitable[object]]:
    """Return a coroutine function that makes one round trip, or two for `put-get`."""
    fresh = _fresh_ids()
    names = itertools.cycle(polled("ended", max(jobs, 1)))

    async def publish() -> object:
        name = next(fresh)
        return await stream.publish(subjects.job(name), wire.encode(submission(name)))

    async def get(name: str | None = None) -> object:
        key = subjects.bucket_key(subjects.STATUS_BUCKET, name or next(names))
        return await stream.get_last_msg(STATUSES, key, direct=True)

    async def put_get() -> object:
        name = next(fresh)
        status = fold_all(life(name)[:8])
        assert status is not None
        await stream.publish(subjects.bucket_key(subjects.STATUS_BUCKET, name), wire.encode(status))
        return await get(name)

    return {"publish": publish, "get": get, "put-get": put_get}[what]


def _fresh_ids() -> Iterator[str]:
    """Yield job ids that no other run yields."""
    for number in itertools.count():
        yield f"{time.monotonic_ns():020x}{number:012x}"


if __name__ == "__main__":
    what, url, seconds, clients, jobs = sys.argv[1:]
    trips_made = uvloop.run(measure(what, url, float(seconds), int(clients), int(jobs)))
    sys.stdout.buffer.write(msgspec.json.encode(trips_made))
