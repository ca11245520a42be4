"""Kills and races by the dozen: `python -m tests.chaos.kills.run [KILLS] [RACES]`. Prints a table.

The stack is that of `just up`, so that supervisord brings back what dies; the model is the tests' own. Every job has to
end exactly once, and as it should, with no hand.
"""

import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from contracts import subjects
from contracts.broker import Bus, bus
from contracts.job import job_id_in
from contracts.process.broker_settings import seed_file
from contracts.status import ENDED
from contracts.stores import Folder
from inference.pocket.build import build
from ops.local.stack import Stack, on_free_ports
from ops.local.supervisor import running
from ops.local.supervisor_client import processes
from tests.kit.edge import PROMPT, picture, post
from tests.kit.process import cluster_parts
from tests.kit.road import MODEL, RANKS
from tests.kit.waiting import eventually

SHORT = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, "image_size": "64*48"}
JOB = {**SHORT, "infer_steps": 100}
ACK_WAIT_S = 5.0
LEFTOVER_S = 20.0
PATIENCE_S = 300.0
PROCESSES = ("rank 0", "rank 1", "torchrun", "launcher", "edge", "state", "broker")


class Trial:
    """The stack, a client of it, and what its broker says."""

    def __init__(self, stack: Stack, client: aiohttp.ClientSession, link: Bus) -> None:
        self.stack, self.client, self.link = stack, client, link
        self.heard: Counter[str] = Counter()

    async def on_ending(self, subject: str, _: bytes) -> None:
        self.heard[subjects.job_id_of(subject)] += 1

    async def submit(self, **fields: Any) -> str:
        code, answer = await post(self.client, f"{self.stack.url}/video/submit", fields)
        assert code == 202, answer
        return answer["requestId"]

    async def status(self, job_id: str) -> Any:
        """None while nobody answers."""
        try:
            async with self.client.get(f"{self.stack.url}/video/status/{job_id}") as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def when(self, job_id: str, is_so: Callable[[Any], bool]) -> Any:
        async def look() -> Any:
            status = await self.status(job_id)
            return status if status is not None and is_so(status) else None

        return await eventually(look, within_s=PATIENCE_S)

    async def ended(self, job_id: str) -> Any:
        return await self.when(job_id, lambda status: status["status"] in ENDED)

    async def log(self, job_id: str) -> list[str]:
        return [event.subject for event in await self.link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))]

    async def at_rest(self) -> None:
        """Everything runs again, and there are as many ranks as there should be."""

        async def well() -> bool:
            up = [process for process in processes(self.stack.socket) if process.statename == "RUNNING"]
            if len(up) != 4 or len(self.cluster_parts()) != 1 + RANKS:
                return False
            try:
                async with self.client.get(f"{self.stack.url}/health") as answer:
                    return len((await answer.json())["clusters"]) == 1
            except aiohttp.ClientError:
                return False

        await eventually(well, within_s=PATIENCE_S)

    def cluster_parts(self) -> dict[str, int]:
        """The pids of the ranks and of torchrun's agent of this stack, wherever they hang."""
        return cluster_parts("WANJET_FOLDER", str(self.stack.folder))

    def pid(self, name: str) -> int:
        if name.startswith("rank") or name == "torchrun":
            return self.cluster_parts()[name]
        wanted = "inference" if name == "launcher" else name
        return next(process.pid for process in processes(self.stack.socket) if process.name == wanted)


async def kill(trial: Trial, name: str, job_takes_s: float) -> tuple[float, int]:
    """Kill a process at a random moment of a running job: seconds until its status moves again, attempts it took."""
    job_id = await trial.submit(**JOB)
    await trial.when(job_id, lambda status: status["status"] != "InQueue")
    await asyncio.sleep(random.uniform(0, 0.9 * job_takes_s))
    killed = time.time()
    os.kill(trial.pid(name), signal.SIGKILL)
    await trial.when(job_id, lambda status: status["updated_at"] > killed or status["status"] in ENDED)
    away_s = time.time() - killed
    ended = await trial.ended(job_id)
    log = await trial.log(job_id)
    assert ended["status"] == "Succeed", (name, ended)
    assert sum(".finished." in subject for subject in log) == 1, log
    await trial.at_rest()
    return away_s, sum(subject.endswith(".started") for subject in log)


async def kills(trial: Trial, count: int) -> None:
    job_takes_s = await measured(trial, JOB)
    print(f"a job takes {job_takes_s:.1f} s; ack_wait {ACK_WAIT_S:g} s; seconds until its status moves on:")
    print(f"{'killed':10} {'times':>5} {'succeeded':>9} {'median':>7} {'worst':>7}  attempts")
    for name in PROCESSES:
        seen = [await kill(trial, name, job_takes_s) for _ in range(count)]
        away_s = [seconds for seconds, _ in seen]
        attempts = dict(sorted(Counter(tries for _, tries in seen).items()))
        print(
            f"{name:10} {count:5} {len(seen):9} {statistics.median(away_s):7.1f} {max(away_s):7.1f}  {attempts}",
            flush=True,
        )


async def measured(trial: Trial, fields: dict[str, Any]) -> float:
    """Seconds that such a job takes, the second time."""
    await trial.ended(await trial.submit(**fields))
    began = time.monotonic()
    await trial.ended(await trial.submit(**fields))
    return time.monotonic() - began


async def race(trial: Trial, job_takes_s: float) -> str:
    """A cancel at a random moment, mostly near the end."""
    job_id = await trial.submit(**SHORT)
    await asyncio.sleep(random.triangular(0, 1.2 * job_takes_s, job_takes_s))
    code, answer = await post(trial.client, f"{trial.stack.url}/video/cancel", {"requestId": job_id})
    status = await trial.status(job_id)
    assert status["status"] == answer["status"], (answer, status)
    assert (code == 200) == (answer["status"] == "Cancelled")
    queued = await trial.link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id))
    assert queued is None or code != 200, "its slot is not free"
    async with trial.client.get(f"{trial.stack.url}/videos/{job_id}.mp4") as video:
        assert video.status == (404 if code == 200 else 200), video.status
    log = await trial.log(job_id)
    assert sum(".finished." in subject for subject in log) == 1, log
    return answer["status"]


async def races(trial: Trial, count: int) -> None:
    await trial.link.listen("video.live.*.finished.*", trial.on_ending)
    job_takes_s = await measured(trial, SHORT)
    before = trial.heard.total()
    outcomes = Counter([await race(trial, job_takes_s) for _ in range(count)])
    await eventually(lambda: trial.heard.total() - before >= count)
    assert set(trial.heard.values()) == {1}, "an ending was heard twice"
    print(f"{count} cancels race with completion: {dict(outcomes)}; one ending each, in the log and live", flush=True)


async def left_behind(trial: Trial) -> None:
    """Nothing is left in the stores but the videos, once the sweeper has been there."""
    videos, scratch = Folder(Path(trial.stack.video_store_url)), Folder(Path(trial.stack.scratch_store_url))

    await eventually(lambda: not leftovers(videos.root, scratch.root), within_s=3 * LEFTOVER_S + PATIENCE_S)
    endings = await trial.link.read(subjects.EVENTS_STREAM, "video.events.*.finished.succeeded")
    kept = {job_id_in(video.name) for video in await videos.files()}
    assert kept == {subjects.job_id_of(ending.subject) for ending in endings}
    print(f"{len(kept)} videos, each of a job that succeeded; no draft, no other's input, no rank is left behind")


def leftovers(videos: Path, scratch: Path) -> list[Path]:
    made = {path.stem for path in videos.glob("*.mp4")}
    inputs = [path for path in scratch.glob("inputs/*") if job_id_in(path.name) not in made]
    return [*videos.glob(".tmp/*"), *scratch.glob(".tmp/*"), *inputs]


@asynccontextmanager
async def trial(stack: Stack) -> AsyncGenerator[Trial, None]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as client,
        bus.connect(stack.nats_url, name="operator", creds=str(seed_file(stack.keys, "operator"))) as link,
    ):
        yield Trial(stack, client, link)


async def run(stack: Stack, kill_count: int, race_count: int) -> None:
    async with trial(stack) as under:
        await races(under, race_count)
        await kills(under, kill_count)
        await left_behind(under)


def main() -> None:
    kill_count, race_count = (int(argument) for argument in [*sys.argv[1:], *("20", "100")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "tiny", MODEL)
        extra = {
            "MODEL_CKPT_DIR": str(folder / "tiny"),
            "ACK_WAIT": f"{ACK_WAIT_S:g}",
            "CLEANUP_INTERVAL": "5",
            "LEFTOVER_MIN_AGE": f"{LEFTOVER_S:g}",
            "OMP_NUM_THREADS": "1",
        }
        stores = {"video_store_url": str(folder / "videos"), "scratch_store_url": str(folder / "scratch")}
        stack = on_free_ports(folder / "stack", ranks=RANKS, extra=extra, **stores)
        with running(stack):
            asyncio.run(run(stack, kill_count, race_count))


if __name__ == "__main__":
    main()
