"""Admission control: limit connections and requests, and choose the connection that makes way for a new one.

`limited_protocol` reports every connection and the `Stage` that the connection is in. Above the limit these make way,
in this order, and of each kind the one that has waited longest: connections that have had their last answer, idle ones,
ones whose head has not come. A connection whose request is being answered stays, unless the client does not read.
Requests other than probes leave a share of the connections free, so that a probe is always answered.
"""

import asyncio
import resource
import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from services.edge.http.uploads import Uploader, Uploads

CONNECTIONS_MAX = 1000
PROBES_ONE_IN = 16
"""One sixteenth of `CONNECTIONS_MAX` comes on top, for requests to `PROBE_PATHS` alone."""
PROBES_MIN = 4
PROBE_PATHS = (b"/livez", b"/readyz", b"/health", b"/metrics")
DEAF_S = 20.0
"""How long an unread answer keeps its connection from making way."""
FILES_KEPT = 192
"""Descriptors that connections leave free: for the pipes of decoders, fetches, the stores' files, the broker."""


class Stage(Enum):
    """The state of a connection, for the choice which one makes way."""

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
    """The last answer is sent, and the connection stays open until that has arrived."""


MAKING_WAY = (Stage.LINGER, Stage.IDLE, Stage.HEAD)
BUSY = (Stage.UPLOAD, Stage.ANSWER, Stage.DEAF)


class Member(Uploader, Protocol):
    """A connection as the crowd sees it. One of HTTP has this shape, and one of a WebSocket."""

    def drop(self) -> None:
        """Reset the connection at once."""
        ...


class Crowd:
    """The connections of one edge, by stage, and within a stage in the order in which they entered the stage.

    `on_refusal` is called with the name of each refusal that a connection sends by itself.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections_max: int = CONNECTIONS_MAX,
        on_refusal: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.uploads, self.on_refusal = Uploads(loop), on_refusal
        self._loop = loop
        self._max, self._probes = connections_max, probes_beside(connections_max)
        self._stages: dict[Member, Stage] = {}
        self._since: dict[Stage, dict[Member, float]] = {stage: {} for stage in Stage}

    def admit(self, member: Member) -> None:
        """Take in a new connection. Without room, reset the connection that makes way; if none can, the new one."""
        if len(self._stages) < self._max + self._probes or self._make_way():
            self.place(member, Stage.HEAD)
        else:
            member.drop()

    def place(self, member: Member, stage: Stage) -> None:
        """Note that a connection is in this stage, from now on unless it was in it before. Takes in an unknown one."""
        before = self._stages.get(member)
        if before is stage:
            return
        if before is not None:
            del self._since[before][member]
        self._stages[member] = stage
        self._since[stage][member] = self._loop.time()

    def leave(self, member: Member) -> None:
        """Forget a connection and its upload, if they are known."""
        self.uploads.end(member)
        if (stage := self._stages.pop(member, None)) is not None:
            del self._since[stage][member]

    def has_room(self) -> bool:
        """Return whether one more request, not a probe, may be answered. May reset a `DEAF` connection for it."""
        return sum(len(self._since[stage]) for stage in BUSY) < self._max or self._drop_deaf()

    def _make_way(self) -> bool:
        """Reset the connection that makes way, and return whether there was one."""
        for stage in MAKING_WAY:
            if (oldest := next(iter(self._since[stage]), None)) is not None:
                self._drop(oldest)
                return True
        return self._drop_deaf()

    def _drop_deaf(self) -> bool:
        """Reset the connection with the longest unread answer, if for `DEAF_S`, and return whether there was one."""
        member, since = next(iter(self._since[Stage.DEAF].items()), (None, 0.0))
        if member is None or self._loop.time() - since < DEAF_S:
            return False
        self._drop(member)
        return True

    def _drop(self, member: Member) -> None:
        self.leave(member)
        member.drop()


def probes_beside(connections: int) -> int:
    """Return how many connections for probes come on top of this number of connections."""
    return max(PROBES_MIN, connections // PROBES_ONE_IN)


def connections_for(files_max: int) -> int:
    """Return how many connections, up to `CONNECTIONS_MAX`, this many descriptors allow, beside those for probes."""
    roomy = files_max - FILES_KEPT - probes_beside(CONNECTIONS_MAX)
    return min(CONNECTIONS_MAX, max(files_max // 4, roomy))


def raise_files_limit() -> int:
    """Raise this process's limit of descriptors to its hard limit, for good, and return it; `sys.maxsize` for none."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most
