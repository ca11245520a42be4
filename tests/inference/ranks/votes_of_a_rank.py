"""A rank of test_broadcast.py: scripted jobs, in which rank 1 alone may fail. Prints what it agreed on in each."""

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist

from contracts.job import Job
from contracts.plan import Plan
from contracts.stage_times import Stage
from inference.ranks import device
from inference.ranks.broadcast import FailureAgreed, Group, LeaveAgreed
from inference.ranks.commands import Command, Idle, Run, Stop
from inference.ranks.monitor import GroupMonitor
from inference.wan.generate import Picture
from inference.wan.snapshot import DenoisingSnapshot

RUN = Run(
    job_id="0" * 32,
    attempt=1,
    job=Job(prompt="a boat at sea", num_frames=25, seed=1),
    plan=Plan(cfg_size=1, ulysses_size=1),
    width=1,
    height=1,
    rgb=b"",
)


class Script:
    """A leader that hands out two commands and leaves at the boundary that it is given."""

    def __init__(self, leave_at: int) -> None:
        self.commands: list[Command] = [Idle(), Stop()]
        self.leave_at = leave_at

    def next_command(self) -> Command:
        return self.commands.pop(0)

    def report_boundary(self, stage: Stage, step: int) -> bool:  # noqa: ARG002  # the protocol
        return step == self.leave_at

    def part_done(self, stage: Stage, done: float) -> None:  # noqa: ARG002  # the protocol
        raise AssertionError("no job is at work")

    def offer_preview(self, step: int, make_preview: Callable[[], Picture | None]) -> None:  # noqa: ARG002
        raise AssertionError("no job is at work")

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:  # noqa: ARG002  # the protocol
        raise AssertionError("no job is at work")


NEVER = 99
SCRIPTS = {
    "all goes well": (NEVER, NEVER),
    "rank 0 leaves": (NEVER, 2),
    "rank 1 fails": (1, NEVER),
    "both at once": (2, 2),
}
"""The steps at which rank 1 fails, and at which rank 0 leaves the job."""


def main() -> None:
    with device.join_group(torch.device("cpu")) as store:
        rank = dist.get_rank()
        with GroupMonitor(store, rank, dist.get_world_size()).running() as monitor:
            for name, (fail_at, leave_at) in SCRIPTS.items():
                vote(name, Group(Script(leave_at) if rank == 0 else None, monitor), rank, fail_at)


def vote(name: str, group: Group, rank: int, fail_at: int) -> None:
    told: list[object] = [type(group.broadcast_next_command()).__name__]
    step = 0
    try:
        for step in range(4):
            if rank == 1 and step == fail_at:
                raise group.vote_failure(RUN, f"rank 1 broke at step {step} of ü")
            group.vote_at_boundary("denoise", step)
        told.append("done")
    except (FailureAgreed, LeaveAgreed) as end:
        told.append(f"{type(end).__name__}: {end} after {step}")
    told.append(type(group.broadcast_next_command()).__name__)
    sys.stdout.write("|".join(map(str, ["TOLD", name, rank, *told])) + "\n")  # in one piece: two ranks share the pipe
    sys.stdout.flush()


if __name__ == "__main__":
    main()
