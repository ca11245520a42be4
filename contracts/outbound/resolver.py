"""Look names up in the DNS, with c-ares: a look-up holds no thread, and ends when its caller gives up.

`guarded_client` calls `Resolver.look_up`. A silent name server delays the names of its own zone alone: each registered
name has a share of the look-ups at once. A look-up beyond the share is `Overloaded`, which says nothing against the
name.
"""

import asyncio
import socket
from types import TracebackType
from typing import Any, Self

import aiodns
from aiodns import error

from contracts.outbound.overloaded import Overloaded
from contracts.outbound.turns import Turns

LOOK_UP_WITHIN_S = 5.0
TRY_WITHIN_S = 2.0
TRIES = 2
LOOK_UPS_MAX = 64
ZONE_SHARE = 8
ZONE_WAITING_MAX = 16
WAIT_WITHIN_S = 10.0
REGISTRY_CHARS_MAX = 3
"""The longest second-level name below which a country registers names, such as `co` in `co.uk`."""

_OURS: tuple[int, ...] = (error.ARES_ECONNREFUSED, error.ARES_ENOMEM, error.ARES_EFILE)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]  # made from pycares' own at import
"""Failures of our own: the resolver is away, or memory or descriptors are used up."""


class Resolver:
    """The system's resolver and `/etc/hosts`. It can look up for as long as its block lasts.

    At most `look_ups_max` names are looked up at once. `options` go to `aiodns`.
    """

    def __init__(self, look_ups_max: int = LOOK_UPS_MAX, **options: Any) -> None:
        self._options = options
        self._turns = Turns(most=look_ups_max, share=ZONE_SHARE, waiting_max=ZONE_WAITING_MAX, within_s=WAIT_WITHIN_S)

    async def __aenter__(self) -> Self:
        self._resolver = aiodns.DNSResolver(timeout=TRY_WITHIN_S, tries=TRIES, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resolver.close()

    async def look_up(self, host: str) -> list[str]:
        """Return all addresses of a name, IPv4 and IPv6. Raises `Overloaded`, or `OSError` if there is none.

        No answer within `LOOK_UP_WITHIN_S`, beside the wait for a turn, is a `TimeoutError`, which is an `OSError`.
        """
        async with self._turns.turn(zone(host)):
            try:
                async with asyncio.timeout(LOOK_UP_WITHIN_S):
                    found = await self._resolver.getaddrinfo(host, type=socket.SOCK_STREAM)
            except error.DNSError as failure:
                if failure.args[0] in _OURS:
                    raise Overloaded from failure
                raise OSError(f"no address: {failure}") from failure
        return [node.addr[0].decode() for node in found.nodes]


def zone(host: str) -> str:
    """Return the registered part of a name, as a guess: its last two labels, or three below names such as `co.uk`."""
    labels = host.lower().removesuffix(".").split(".")
    count = 3 if len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= REGISTRY_CHARS_MAX else 2
    return ".".join(labels[-count:])
