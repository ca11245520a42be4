"""A rank of test_broadcast.py: scripted jobs, in which rank 1 alone may fail. Prints what it agreed on in each."""

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist

from contracts.events import Stage
from contracts.job import Job
from contracts.plan import Plan
from inference.ranks import device
from inference.ranks.broadcast import Failed, Group, Halted
from inference.ranks.commands import Command, Idle, Run, Stop
from inference.ranks.monitor import Watch
from inference.wan.snapshot import Halfway

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
    """A leader that hands out two commands and halts at the boundary that it is given."""

    def __init__(self, halt_at: int) -> None:
        self.commands: list[Command] = [Idle(), Stop()]
        self.halt_at = halt_at

    def next_command(self) -> Command:
        return self.commands.pop(0)

    def passed(self, stage: Stage, step: int) -> bool:  # noqa: ARG002  # the protocol
        return step == self.halt_at

    def offered(self, take: Callable[[], Halfway]) -> None:  # noqa: ARG002  # the protocol
        raise AssertionError("no job is at work")


NEVER = 99
SCRIPTS = {
    "all goes well": (NEVER, NEVER),
    "rank 0 halts": (NEVER, 2),
    "rank 1 fails": (1, NEVER),
    "both at once": (2, 2),
}
"""The steps at which rank 1 fails, and at which rank 0 halts the job."""


def main() -> None:
    with device.join_group(torch.device("cpu")) as store:
        rank = dist.get_rank()
        with Watch(store, rank, dist.get_world_size()).kept() as watch:
            for name, (fail_at, halt_at) in SCRIPTS.items():
                vote(name, Group(Script(halt_at) if rank == 0 else None, watch), rank, fail_at)


def vote(name: str, group: Group, rank: int, fail_at: int) -> None:
    told: list[object] = [type(group.next_command()).__name__]
    step = 0
    try:
        for step in range(4):
            if rank == 1 and step == fail_at:
                raise group.fail(RUN, f"rank 1 broke at step {step} of ü")
            group.boundary("denoise", step)
        told.append("done")
    except (Failed, Halted) as end:
        told.append(f"{type(end).__name__}: {end} after {step}")
    told.append(type(group.next_command()).__name__)
    sys.stdout.write("|".join(map(str, ["TOLD", name, rank, *told])) + "\n")  # in one piece: two ranks share the pipe
    sys.stdout.flush()


if __name__ == "__main__":
    main()
