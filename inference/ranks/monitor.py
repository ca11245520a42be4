"""The failure detector of a group of ranks: which ranks are alive, which failed, and whether the whole group ends.

Every rank runs one `GroupMonitor`, from before its first command until it stops. Heartbeats, failure reports and the
order to abort travel over torchrun's key-value store and in a thread of their own, so that a rank which hangs in a
collective is still seen. A heartbeat also says what memory the rank's device has in use, for rank 0's metrics.
"""

import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import msgspec
from msgspec import Struct
from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, Store

from contracts.process import log

HEARTBEAT_S = 0.5
SILENT_BEATS_MAX = 60  # half a minute: a rank may be busy with Python alone for a while
LATE_BEATS = 6
LAST_ACTS_S = 5.0
JOIN_WITHIN_S = 5.0
MEET_WITHIN_S = 600.0


class FailureReport(Struct, frozen=True):
    """Why a rank cannot go on with an attempt; `reason` is safe to show."""

    job_id: str
    attempt: int
    reason: str


class Heartbeat(Struct, frozen=True, array_like=True):
    """A sign of life: how many there were, and the bytes of the rank's device by kind, as `device.memory` has them."""

    count: int
    memory: dict[str, int] = {}


class GroupMonitor:
    """Failure detector of a rank for all ranks, from start to end of its `running` block.

    `memory` returns the bytes of this rank's device by kind. It is called in the monitor's thread and must not block.
    `on_failure` is called with the report of a failing rank, and `on_abort` with the reason once the group ends, both
    in the monitor's thread. After `on_abort` the process lives for `LAST_ACTS_S` at most.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world_size: int,
        *,
        memory: Callable[[], Mapping[str, int]] = dict,
        on_failure: Callable[[FailureReport], None] | None = None,
        on_abort: Callable[[str], None] | None = None,
    ) -> None:
        self._store = PrefixStore("monitor", store.clone())  # pyright: ignore[reportAttributeAccessIssue]  # not in its stub
        self._rank, self._ranks = rank, range(world_size)
        self._memory, self._on_failure, self._on_abort = memory, on_failure, on_abort
        self._beats = dict.fromkeys(self._ranks, b"")
        # Counted in our own polls: if this process is suspended, the other ranks are not declared dead.
        self._silent_polls = dict.fromkeys(self._ranks, 0)
        self._last_report = b""
        self._beat_count = 0
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Generator["GroupMonitor", None, None]:
        """Monitor for the length of the block. Every rank enters it, once, and waits there for all others.

        Raises torch's `DistError` if they do not come within `MEET_WITHIN_S`.
        """
        if self._rank == 0:
            self._store.set("failure", "")
            self._store.set("abort", "")
        self._beat()
        self._store.wait([_beat_of(rank) for rank in self._ranks], timedelta(seconds=MEET_WITHIN_S))
        thread = threading.Thread(target=self._beat_and_poll, name="monitor", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join(JOIN_WITHIN_S)

    def report_failure(self, report: FailureReport) -> None:
        """Report that this rank cannot go on. Every `on_failure` is called with it, whatever the other ranks do."""
        self._store.set("failure", msgspec.json.encode(report).decode())

    def abort_group(self, why: str) -> None:
        """Have the process of every rank end, and return at once. What supervises torchrun starts the group again.

        Each ends at its next heartbeat, or `LAST_ACTS_S` later if it has an `on_abort`.
        """
        log.get().error("group_goes_down", why=why)
        self._store.set("abort", why)

    @property
    def all_alive(self) -> bool:
        """Return whether every rank has sent a heartbeat within this one's last `LATE_BEATS`."""
        return max(self._silent_polls.values()) < LATE_BEATS

    def memory(self) -> dict[int, dict[str, int]]:
        """Return the bytes of each rank's device by kind, as of its last heartbeat; nothing of a device without any."""
        beats = {rank: msgspec.json.decode(beat, type=Heartbeat) for rank, beat in self._beats.items() if beat}
        return {rank: beat.memory for rank, beat in beats.items() if beat.memory}

    # -- the monitor's thread --------------------------------------------------------------------------------------

    def _beat_and_poll(self) -> None:
        """Send heartbeats and read those of the others until the block ends; without the store, end the process."""
        try:
            while not self._stopped.wait(HEARTBEAT_S):
                self._beat()
                self._poll()
        except DistError as error:  # the store is torchrun's: without torchrun nobody would restart this rank
            log.get().error("store_lost", error=repr(error))
            os._exit(1)

    def _beat(self) -> None:
        self._beat_count += 1
        beat = Heartbeat(self._beat_count, dict(self._memory()))
        self._store.set(_beat_of(self._rank), msgspec.json.encode(beat).decode())

    def _poll(self) -> None:
        """Read the store: end the process on an abort, pass on a failure, abort the group if a rank is silent."""
        abort, report, *beats = self._store.multi_get(["abort", "failure", *(_beat_of(rank) for rank in self._ranks)])
        if abort:
            self._end_process(bytes(abort).decode())
        if report != self._last_report and self._on_failure is not None:
            self._on_failure(msgspec.json.decode(report, type=FailureReport))
        self._last_report = report
        for rank, beat in zip(self._ranks, beats, strict=True):
            self._silent_polls[rank] = 0 if beat != self._beats[rank] else self._silent_polls[rank] + 1
            self._beats[rank] = beat
            if self._silent_polls[rank] == SILENT_BEATS_MAX:
                self.abort_group(f"rank {rank} is silent")

    def _end_process(self, why: str) -> None:
        """Call `on_abort` if there is one, give it `LAST_ACTS_S`, and end the process. Does not return."""
        if self._on_abort is not None:
            self._on_abort(why)
            self._stopped.wait(LAST_ACTS_S)
        log.get().error("rank_ends", why=why)
        os._exit(1)


def _beat_of(rank: int) -> str:
    """Return the key of a rank's heartbeat."""
    return f"beat/{rank}"
