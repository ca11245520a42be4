"""How the ranks act as one: the same commands in the same order, and a vote at every boundary of a job.

The only place, beside `rank`, that knows which rank leads. Control travels on a CPU group of its own, so that it
never mixes with the model's collectives.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist

from contracts.events import Stage
from inference.ranks import commands
from inference.ranks.commands import Command, Run
from inference.ranks.device import CONTROL_TIMEOUT_S
from inference.ranks.monitor import LastWords, Watch
from inference.wan.snapshot import Halfway

REASON_BYTES_MAX = 512
LEADER = 0


class Halted(Exception):
    """Rank 0 told every rank to leave the job; it knows why."""


class Failed(Exception):
    """A rank could not go on with the job, and every rank has agreed to end it. The text is safe to show."""


class Leader(Protocol):
    """What rank 0 adds: where commands come from, and who wants to know how far the job is."""

    def next_command(self) -> Command: ...

    def passed(self, stage: Stage, step: int) -> bool:
        """A boundary was reached; True to halt the job there."""
        ...

    def offered(self, take: Callable[[], Halfway]) -> None:
        """The job could go on from here another time."""
        ...


class Group:
    """All ranks of the cluster, as one of them sees it; `leader` on rank 0 alone."""

    def __init__(self, leader: Leader | None, watch: Watch) -> None:
        self._leader, self._watch = leader, watch
        control = dist.new_group(backend="gloo", timeout=timedelta(seconds=CONTROL_TIMEOUT_S))
        assert isinstance(control, dist.ProcessGroup)
        self._control = control
        self.stage: Stage | None = None
        """Which stage this rank is at; None while the weights are gathered, before the first one of a job."""

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return dist.get_world_size()

    def next_command(self) -> Command:
        """The next command, the same on every rank."""
        payload = commands.encode(self._leader.next_command()) if self._leader is not None else b""
        return commands.decode(self._broadcast(payload))

    def boundary(self, stage: Stage, step: int) -> None:
        """Every rank is about to begin this stage, or has done this many steps of it: go on together, or not at all.

        Raises `Halted` or `Failed`, on every rank alike.
        """
        self.stage = stage
        halt = self._leader is not None and self._leader.passed(stage, step)
        self._agree(reason="", halt=halt)

    def offer(self, take: Callable[[], Halfway]) -> None:
        """What this rank has of the job after a step is what every rank has: rank 0 may keep it."""
        if self._leader is not None:
            self._leader.offered(take)

    def fail(self, run: Run, reason: str) -> Failed:
        """Meet the others at their next boundary with an error; what all then agree on.

        Where they never come to it, since they wait for this rank inside a collective, rank 0 has been told beside it.
        """
        self._watch.tell(LastWords(run.job_id, run.attempt, reason))
        try:
            self._agree(reason=reason, halt=False)
        except Failed as agreed:
            return agreed
        raise AssertionError("a vote to fail was not counted")

    def _agree(self, *, reason: str, halt: bool) -> None:
        votes = torch.tensor([reason != "", halt], dtype=torch.int64)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self._control)
        failed, halted = votes.tolist()
        if failed:
            raise Failed(self._first_reason(reason))
        if halted:
            raise Halted

    def _first_reason(self, mine: str) -> str:
        text = mine.encode()[:REASON_BYTES_MAX].ljust(REASON_BYTES_MAX, b"\0")
        reasons = [torch.empty(REASON_BYTES_MAX, dtype=torch.uint8) for _ in range(dist.get_world_size())]
        dist.all_gather(reasons, torch.frombuffer(bytearray(text), dtype=torch.uint8), group=self._control)
        told = [bytes(reason.tolist()).rstrip(b"\0").decode(errors="ignore") for reason in reasons]
        return next(reason for reason in told if reason)

    def _broadcast(self, payload: bytes) -> bytes:
        size = torch.tensor([len(payload)], dtype=torch.int64)
        dist.broadcast(size, LEADER, group=self._control)
        body = torch.frombuffer(bytearray(payload or int(size)), dtype=torch.uint8)
        dist.broadcast(body, LEADER, group=self._control)
        return body.numpy().tobytes()
