"""Admission control: how many connections and requests there may be, and which connection makes way for a new one.

Every connection is in one `Stage`. Above the limit, those go first that have had their last answer, then those kept
alive, then those whose head has not come, each time the one that has waited longest; never one whose request is being
answered, unless nobody reads the answer.
Requests other than probes leave a share of the connections free, so that a probe is always answered.
"""

import asyncio
import resource
import sys
from enum import Enum, auto
from typing import Protocol

from services.edge.http.uploads import Uploader, Uploads

CONNECTIONS_MAX = 1000
PROBES_ONE_IN = 16
"""A sixteenth more connections than that, which only requests for `PROBE_PATHS` can hold."""
PROBES_MIN = 4
PROBE_PATHS = (b"/livez", b"/readyz", b"/health", b"/metrics")
DEAF_S = 20.0
"""How long an answer may wait to be read before its connection may make way."""
FILES_KEPT = 192
"""Descriptors that are left to everything else: decoders' pipes, fetches, stores' files, the broker."""


class Stage(Enum):
    """Where a connection is."""

    HEAD = auto()
    """The head of a request is still to come."""
    IDLE = auto()
    """Kept alive after an answer."""
    UPLOAD = auto()
    """A body is still to come."""
    ANSWER = auto()
    """A request is being answered."""
    DEAF = auto()
    """An answer is not read."""
    LINGER = auto()
    """It has had its last answer, and is left open for that to arrive."""


MAKING_WAY = (Stage.LINGER, Stage.IDLE, Stage.HEAD)
BUSY = (Stage.UPLOAD, Stage.ANSWER, Stage.DEAF)


class Member(Uploader, Protocol):
    """One connection."""

    def drop(self) -> None:
        """Reset the connection at once."""
        ...


class Crowd:
    """The connections of one edge, by their stage, and in each in the order in which they came to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections_max: int = CONNECTIONS_MAX) -> None:
        self.uploads = Uploads(loop)
        self._loop = loop
        self._max, self._probes = connections_max, probes_beside(connections_max)
        self._stages: dict[Member, Stage] = {}
        self._since: dict[Stage, dict[Member, float]] = {stage: {} for stage in Stage}

    def admit(self, member: Member) -> None:
        """Take in a new connection, and drop another, or this one, if there is no room for it."""
        if len(self._stages) < self._max + self._probes or self._make_way():
            self.place(member, Stage.HEAD)
        else:
            member.drop()

    def place(self, member: Member, stage: Stage) -> None:
        """Note the stage to which a connection has come."""
        before = self._stages.get(member)
        if before is stage:
            return
        if before is not None:
            del self._since[before][member]
        self._stages[member] = stage
        self._since[stage][member] = self._loop.time()

    def leave(self, member: Member) -> None:
        """Forget a connection; one that is forgotten already is no error."""
        self.uploads.end(member)
        if (stage := self._stages.pop(member, None)) is not None:
            del self._since[stage][member]

    def has_room(self) -> bool:
        """Return whether one more request that is no probe may be answered."""
        return sum(len(self._since[stage]) for stage in BUSY) < self._max or self._drop_deaf()

    def _make_way(self) -> bool:
        for stage in MAKING_WAY:
            if (oldest := next(iter(self._since[stage]), None)) is not None:
                self._drop(oldest)
                return True
        return self._drop_deaf()

    def _drop_deaf(self) -> bool:
        member, since = next(iter(self._since[Stage.DEAF].items()), (None, 0.0))
        if member is None or self._loop.time() - since < DEAF_S:
            return False
        self._drop(member)
        return True

    def _drop(self, member: Member) -> None:
        self.leave(member)
        member.drop()


def probes_beside(connections: int) -> int:
    """Return how many connections are for probes alone, beside so many others."""
    return max(PROBES_MIN, connections // PROBES_ONE_IN)


def connections_for(files_max: int) -> int:
    """Return how many connections, those for probes not counted, this many descriptors allow."""
    roomy = files_max - FILES_KEPT - probes_beside(CONNECTIONS_MAX)
    return min(CONNECTIONS_MAX, max(files_max // 4, roomy))


def raise_files_limit() -> int:
    """Raise this process' limit of descriptors as far as it may itself, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most
