"""How the ranks act as one: rank 0 broadcasts every command, and all ranks vote at every boundary of a job.

Every rank makes one `Group` at its start; `worker` and, through its callbacks, `wan.generate` call it. Differences
between rank 0 and the other ranks are settled here. Control travels on a CPU group of its own, so that it never mixes
with the model's collectives.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist

from contracts.stage_times import Stage
from inference.ranks import commands
from inference.ranks.commands import Command, Run
from inference.ranks.device import CONTROL_TIMEOUT_S
from inference.ranks.monitor import FailureReport, GroupMonitor
from inference.wan.generate import Picture
from inference.wan.snapshot import DenoisingSnapshot

REASON_BYTES_MAX = 512
RANK_ZERO = 0


class LeaveAgreed(Exception):
    """Raised on every rank alike if rank 0 votes to leave the job at a boundary. Rank 0 alone knows the reason."""


class FailureAgreed(Exception):
    """Raised on every rank alike if a rank cannot go on with the job. The text says why, and is safe to show."""


class RankZeroHooks(Protocol):
    """The half of the group that only rank 0 has: the source of commands, and the listener to the progress of a job."""

    def next_command(self) -> Command:
        """Wait for a command, and return the one to broadcast."""
        ...

    def report_boundary(self, stage: Stage, step: int) -> bool:
        """Take note that the job is at a boundary: a stage begins (step 0) or that many steps of it are done.

        Return whether to leave the job there.
        """
        ...

    def part_done(self, stage: Stage, done: float) -> None:
        """Take note that rank 0 has done this share (0 to 1) of a stage."""
        ...

    def offer_preview(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        """Take the picture that `make_preview` returns, if a preview is wanted after this step."""
        ...

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        """Take what `make_snapshot` returns, if a snapshot is wanted now: the job could go on from it later."""
        ...


class Group:
    """The ranks of the cluster as they act together; rank 0 alone gives `hooks`.

    Made once on each rank: that is a collective. A collective raises an error of torch's if a rank is gone, or does not
    come to it within `CONTROL_TIMEOUT_S`.
    """

    def __init__(self, hooks: RankZeroHooks | None, monitor: GroupMonitor) -> None:
        self._hooks, self._monitor = hooks, monitor
        control = dist.new_group(backend="gloo", timeout=timedelta(seconds=CONTROL_TIMEOUT_S))
        assert isinstance(control, dist.ProcessGroup)
        self._control = control
        self.stage: Stage | None = None
        """The stage that this rank is at; None while a job's weights are gathered, before its first stage."""

    @property
    def size(self) -> int:
        """The number of ranks."""
        return dist.get_world_size()

    def broadcast_next_command(self) -> Command:
        """Return rank 0's next command on every rank. A collective: the others wait until rank 0's hooks have one."""
        payload = commands.encode(self._hooks.next_command()) if self._hooks is not None else b""
        return commands.decode(self._broadcast(payload))

    def vote_at_boundary(self, stage: Stage, step: int) -> None:
        """Vote on whether to go on, at the beginning of this stage (step 0) or after so many of its steps.

        A collective: it returns on every rank, or raises `LeaveAgreed` or `FailureAgreed` on every rank.
        """
        self.stage = stage
        leave = self._hooks is not None and self._hooks.report_boundary(stage, step)
        self._vote(reason="", leave=leave)

    def report_part(self, stage: Stage, done: float) -> None:
        """Tell rank 0's hooks the share (0 to 1) of a stage that rank 0 has done. Other ranks do nothing.

        No collective: the ranks need not be at the same point.
        """
        if self._hooks is not None:
            self._hooks.part_done(stage, done)

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        """Offer a snapshot to rank 0's hooks. Other ranks do nothing: their snapshots would be the same."""
        if self._hooks is not None:
            self._hooks.offer_snapshot(make_snapshot)

    def offer_preview(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        """Offer a preview after a step to rank 0's hooks. Other ranks do nothing."""
        if self._hooks is not None:
            self._hooks.offer_preview(step, make_preview)

    def vote_failure(self, run: Run, reason: str) -> FailureAgreed:
        """Vote, at the other ranks' next boundary, that the job has failed; return the failure that all ranks raise.

        `reason`, not empty and safe to show, is cut to `REASON_BYTES_MAX` bytes; of several ranks' that of the lowest
        counts. If the others are blocked in a collective, they never reach the vote, and this waits until it fails or
        the process is ended; rank 0 learns of the failure through the monitor first.
        """
        self._monitor.report_failure(FailureReport(run.job_id, run.attempt, reason))
        try:
            self._vote(reason=reason, leave=False)
        except FailureAgreed as agreed:
            return agreed
        raise AssertionError("a vote to fail was not counted")

    def _vote(self, *, reason: str, leave: bool) -> None:
        """Raise `FailureAgreed` if any rank has a reason, else `LeaveAgreed` if any wants to leave. A collective."""
        votes = torch.tensor([reason != "", leave], dtype=torch.int64)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self._control)
        failed, left = votes.tolist()
        if failed:
            raise FailureAgreed(self._first_reason(reason))
        if left:
            raise LeaveAgreed

    def _first_reason(self, mine: str) -> str:
        """Return the reason of the lowest rank that has one; `mine` is this rank's, or empty. A collective.

        Raises `StopIteration` if no rank has a reason.
        """
        text = mine.encode()[:REASON_BYTES_MAX].ljust(REASON_BYTES_MAX, b"\0")
        gathered = [torch.empty(REASON_BYTES_MAX, dtype=torch.uint8) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, torch.frombuffer(bytearray(text), dtype=torch.uint8), group=self._control)
        reasons = [bytes(reason.tolist()).rstrip(b"\0").decode(errors="ignore") for reason in gathered]
        return next(reason for reason in reasons if reason)

    def _broadcast(self, payload: bytes) -> bytes:
        """Return rank 0's payload, not empty, on every rank; the other ranks give an empty one. A collective."""
        size = torch.tensor([len(payload)], dtype=torch.int64)
        dist.broadcast(size, RANK_ZERO, group=self._control)
        body = torch.frombuffer(bytearray(payload or int(size)), dtype=torch.uint8)
        dist.broadcast(body, RANK_ZERO, group=self._control)
        return body.numpy().tobytes()
