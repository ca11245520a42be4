"""Runs the whole service on a card, with one rank: `python -m ops.bench.gpu.service card|dry`.

Scenarios, each of which needs only a running service: a job to its video, a rank killed in the middle of a job, a rank
killed between two jobs, and a job that runs out of memory. One that fails is a fact, and the next is tried.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from contracts.events import JobStarted
from contracts.status import JobStatus
from inference.pocket.build import build
from inference.wan.checkpoint.model_card import ModelCard
from ops.bench.gpu.client import Client
from ops.bench.gpu.finding import Fact, reason, write
from ops.bench.gpu.fork import ANEW, FORKED
from ops.bench.gpu.processes import command_line, ranks_of
from ops.bench.gpu.scarce import memory_scarce
from ops.bench.report.row import Row, Series
from ops.bench.turns import say
from ops.bench.weights import SHAPES
from ops.local.stack import Stack, on_free_ports
from ops.local.supervisor import running
from ops.local.supervisor_client import processes

PART = "service"
FRESH_MARK = "run_rank_and_exit"
"""A word of the command line of a rank that was executed anew: `inference.ranks.agent.FRESH_RANK`."""
STEP = 10
ENDS_WITHIN_S, STEP_WITHIN_S, RANK_WITHIN_S = 90.0, 60.0, 60.0
SETTINGS = {"ACK_WAIT": "3", "CHECKPOINT_INTERVAL": "0.1", "POCKET_LARGE_SIZES": "1"}
SHORT = {"image_size": "256*144", "num_frames": 24, "infer_steps": 20}
LONG = {"image_size": "832*480", "num_frames": 80, "infer_steps": 100}
LARGE = {"image_size": "1280*720", "num_frames": 120, "infer_steps": 20}
DRY_SHORT = {"image_size": "64*48", "num_frames": 24, "infer_steps": 20}
DRY_LONG = {"image_size": "64*48", "num_frames": 40, "infer_steps": 100}
DRY_LARGE = {"image_size": "256*144", "num_frames": 120, "infer_steps": 20}


class Service:
    """The running service, and the fields of the jobs that are given to it."""

    def __init__(self, stack: Stack, *, dry: bool) -> None:
        self._stack, self.dry = stack, dry
        self.client = Client(stack)
        self.short, self.long, self.large = (DRY_SHORT, DRY_LONG, DRY_LARGE) if dry else (SHORT, LONG, LARGE)

    @property
    def rank(self) -> int:
        """Return the pid of the one rank, which must be there within `RANK_WITHIN_S`. Raises `TimeoutError`."""
        deadline = time.monotonic() + RANK_WITHIN_S
        while time.monotonic() < deadline:
            for each in processes(self._stack.socket):
                if each.name == "inference" and each.pid and (ranks := ranks_of(each.pid)):
                    return ranks[0]
            time.sleep(0.05)
        raise TimeoutError(f"no rank within {RANK_WITHIN_S:.0f} s")

    def done(self, fields: dict[str, Any]) -> JobStatus:
        """Submit a job, and return its status once it has ended."""
        return self.client.ended(self.client.submit(fields), within_s=ENDS_WITHIN_S)


def job_to_its_video(service: Service) -> None:
    """Run a short job twice, the second time on a warm card; say by which road its rank has come to life."""
    road = ANEW if FRESH_MARK in command_line(service.rank) else FORKED
    write(Fact(part=PART, what="the rank is", found=road))
    for which in ("the first job", "the next job"):
        began = time.monotonic()
        _write_ending(which, service.done(service.short))
        _write_seconds(f"{which}, from submission to video", time.monotonic() - began)


def rank_killed_in_a_job(service: Service) -> None:
    """Kill the rank in the middle of a long job; the job has to go on from its checkpoint."""
    job_id = service.client.submit(service.long)
    service.client.at_step(job_id, STEP, within_s=STEP_WITHIN_S)
    os.kill(service.rank, signal.SIGKILL)
    began = time.monotonic()
    service.client.at_attempt(job_id, 2, within_s=RANK_WITHIN_S)
    _write_seconds("from a rank killed in a job to the next attempt", time.monotonic() - began)
    _write_ending("the job whose rank was killed", service.client.ended(job_id, within_s=ENDS_WITHIN_S))
    starts = [event for event in service.client.log(job_id) if isinstance(event, JobStarted)]
    resumed = starts[-1].resumed_from_step if starts else 0
    write(Fact(part=PART, what="and goes on", found=f"from step {resumed}", good=resumed > 0))


def rank_killed_between_jobs(service: Service) -> None:
    """Kill the rank while it has no job, and submit one at once."""
    killed = service.rank
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    _write_ending("the job after a killed rank", service.done(service.short))
    _write_seconds("from a killed rank to the next job's video", time.monotonic() - began)
    write(Fact(part=PART, what="the rank is another process", found=str(service.rank != killed), good=True))


def out_of_memory(service: Service) -> None:
    """Take memory away from the rank; a large job has to fail with advice, and a short one afterwards has to run.

    In a dry run the rank's address space is short, of which libraries speak in words of their own: any failure counts.
    """
    rank = service.rank
    with memory_scarce(rank):
        failed = service.done(service.large)
    write(
        Fact(
            part=PART,
            what="a job without memory ends",
            found=f"{failed.status}: {failed.reason}",
            good=failed.status == "Failed" and (service.dry or "out of memory" in (failed.reason or "")),
        )
    )
    _write_ending("the job after that", service.done(service.short))
    same = service.rank == rank
    write(Fact(part=PART, what="by the same rank", found="yes" if same else "no, a new one", good=same))


SCENARIOS: tuple[Callable[[Service], None], ...] = (
    job_to_its_video,
    rank_killed_in_a_job,
    rank_killed_between_jobs,
    out_of_memory,
)


def main(mode: str) -> None:
    """Run every scenario on one service, which is started and stopped here."""
    dry = mode == "dry"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        stack = _stack(Path(folder), dry=dry)
        with running(stack, say=say):
            _write_seconds("from nothing to a service that is ready", time.monotonic() - began)
            service = Service(stack, dry=dry)
            for scenario in SCENARIOS:
                say(scenario.__name__)
                try:
                    scenario(service)
                except (SystemExit, Exception) as error:  # noqa: BLE001  # a finding, and the next is tried
                    write(Fact(part=PART, what=scenario.__name__, found=reason(error), good=False))


def _write_ending(what: str, status: JobStatus) -> None:
    """Write how a job has ended, with the reason of one that did not succeed."""
    found = status.status if status.reason is None else f"{status.status}: {status.reason}"
    write(Fact(part=PART, what=f"{what} ends", found=found, good=status.status == "Succeed"))


def _write_seconds(what: str, seconds: float) -> None:
    """Write a row of seconds."""
    write(Row(part=PART, what=what, unit="s", over=Series("service", [seconds])))


def _stack(folder: Path, *, dry: bool) -> Stack:
    """Return a stack in the folder with one rank: of the pocket model on a card, of a tiny untrained one without."""
    extra = dict(SETTINGS)
    if dry:
        card = ModelCard(name="tiny", sizes=["64*48", "256*144"], default_size="64*48")
        build(folder / "tiny", replace(SHAPES["tiny"], card=card))
        extra["MODEL_CKPT_DIR"] = str(folder / "tiny")
    return on_free_ports(
        folder / "stack",
        ranks=1,
        video_store_url=str(folder / "videos"),
        scratch_store_url=str(folder / "scratch"),
        extra=extra,
    )


if __name__ == "__main__":
    main(sys.argv[1])
