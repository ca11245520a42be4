"""What the ranks know of each other beside their collectives: who is alive, who failed, and whether all go down.

Over torchrun's key-value store and in a thread of its own, so that a collective that hangs hides nothing. Knows no
broker and no job, but the words in which a rank says why it cannot go on.
"""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

import msgspec
from msgspec import Struct
from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, Store

from contracts.process import log

BEAT_S = 0.5
SILENT_BEATS_MAX = 60  # half a minute: a rank may be busy with Python alone for a while
LATE_BEATS = 6
LAST_ACTS_S = 5.0
JOIN_WITHIN_S = 5.0
MEET_WITHIN_S = 600.0


class LastWords(Struct, frozen=True):
    """A rank that cannot go on with an attempt; `reason` is safe to show."""

    job_id: str
    attempt: int
    reason: str


class Watch:
    """One rank's eyes on all of them.

    `on_words` hears what a failing rank says, `on_down` that the group goes down, both in the watch's thread; from
    then on the process lives for `LAST_ACTS_S` at most.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world_size: int,
        *,
        on_words: Callable[[LastWords], None] | None = None,
        on_down: Callable[[str], None] | None = None,
    ) -> None:
        self._store = PrefixStore("watch", store.clone())  # pyright: ignore[reportAttributeAccessIssue]  # not in its stub
        self._rank, self._ranks = rank, range(world_size)
        self._on_words, self._on_down = on_words, on_down
        self._beats = dict.fromkeys(self._ranks, b"")
        self._silent_for = dict.fromkeys(self._ranks, 0)  # in looks of ours, so that a sleep of ours counts for nothing
        self._words = b""
        self._count = 0
        self._ending = threading.Event()

    @contextmanager
    def kept(self) -> Generator["Watch", None, None]:
        """Watch for the length of the block; every rank enters it."""
        if self._rank == 0:
            self._store.set("words", "")
            self._store.set("down", "")
        self._beat()
        self._store.wait([_beat_of(rank) for rank in self._ranks], timedelta(seconds=MEET_WITHIN_S))
        thread = threading.Thread(target=self._run, name="watch", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            thread.join(JOIN_WITHIN_S)

    def tell(self, words: LastWords) -> None:
        """Say why this rank cannot go on, where rank 0 hears it whatever the other ranks do."""
        self._store.set("words", msgspec.json.encode(words).decode())

    def go_down(self, why: str) -> None:
        """Have every rank end, at once: what watches over torchrun starts the group again."""
        log.get().error("group_goes_down", why=why)
        self._store.set("down", why)

    @property
    def all_alive(self) -> bool:
        """Whether no rank has been late with its beats, as far as this one knows."""
        return max(self._silent_for.values()) < LATE_BEATS

    # -- the watch's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ending.wait(BEAT_S):
                self._beat()
                self._look()
        except DistError as error:  # the store is torchrun's: without it nobody watches over us
            log.get().error("store_lost", error=repr(error))
            os._exit(1)

    def _beat(self) -> None:
        self._count += 1
        self._store.set(_beat_of(self._rank), str(self._count))

    def _look(self) -> None:
        down, words, *beats = self._store.multi_get(["down", "words", *(_beat_of(rank) for rank in self._ranks)])
        if down:
            self._end(bytes(down).decode())
        if words != self._words and self._on_words is not None:
            self._on_words(msgspec.json.decode(words, type=LastWords))
        self._words = words
        for rank, beat in zip(self._ranks, beats, strict=True):
            self._silent_for[rank] = 0 if beat != self._beats[rank] else self._silent_for[rank] + 1
            self._beats[rank] = beat
            if self._silent_for[rank] == SILENT_BEATS_MAX:
                self.go_down(f"rank {rank} is silent")

    def _end(self, why: str) -> None:
        if self._on_down is not None:
            self._on_down(why)
            self._ending.wait(LAST_ACTS_S)
        log.get().error("rank_ends", why=why)
        os._exit(1)


def _beat_of(rank: int) -> str:
    return f"beat/{rank}"
