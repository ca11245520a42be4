"""Announce a process to the broker as a NATS micro service, so that `nats service ls`, `info` and `stats` show it.

Whoever has the nats CLI sees with it which processes run, in which version, and their figures. Nothing is counted
here: the process is asked for its figures when somebody asks for them. Mixed into `bus.Bus`; `micro` does the work.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module

from msgspec import Struct

from contracts.broker.connection import Connection

ANNOUNCE_AFTER_S = 1.0
"""How long after its first connection a process is announced: a start and the first requests do not wait for it."""


class Service(Struct, frozen=True):
    """A process as the CLI shows it.

    `name` is that of its kind, such as `edge`. `figures` returns what is known now, in what JSON can hold; it is called
    in the event loop, so it must be quick, and may hold nothing that a client has written.
    """

    name: str
    description: str
    metadata: Mapping[str, str]
    figures: Callable[[], Mapping[str, object]]


class Services(Connection):
    """The part of the bus by which a process can be found."""

    @asynccontextmanager
    async def announced(self, service: Service) -> AsyncGenerator[None, None]:
        """Announce the process soon after the first connection, and again after each reconnect, until the bus closes.

        Delays neither the block nor its end: nothing is undone, since the broker forgets all of it with the connection.
        If the broker denies it, that is logged, and the process is not found.
        """
        announcing = asyncio.create_task(self._announce(service))
        try:
            yield
        finally:
            announcing.cancel()

    async def _announce(self, service: Service) -> None:
        """Import what answers the CLI, in a thread, and have it answer."""
        await self._begun.wait()
        await asyncio.sleep(ANNOUNCE_AFTER_S)
        micro = await asyncio.to_thread(import_module, "contracts.broker.micro")
        await micro.answer(self._client, service)
