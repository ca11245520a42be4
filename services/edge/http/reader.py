"""Reads a connection in small pieces: uvloop hands a protocol up to 256 kB at once, whatever it can do with them."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from services.edge.http.limited_protocol import Guarded

READ_BYTES_MAX = 16 * 1024

_buffer = memoryview(bytearray(READ_BYTES_MAX))
"""Shared by all connections of the event loop's thread, since what comes is copied out before anything else is read."""


class Reader(asyncio.BufferedProtocol):
    """One connection, as the transport sees it."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the transport's wish, which is no matter
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._guarded.data_received(bytes(_buffer[:nbytes]))

    def eof_received(self) -> None:
        self._guarded.eof_received()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._guarded.connection_made(cast("asyncio.Transport", transport))  # a stream's; uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._guarded.connection_lost(exc)

    def pause_writing(self) -> None:
        self._guarded.pause_writing()

    def resume_writing(self) -> None:
        self._guarded.resume_writing()


def reading(guarded: Callable[..., Guarded]) -> Callable[..., Reader]:
    """Return what makes a connection, for `uvicorn.Config(http=…)`."""

    def make(*arguments: Any, **named: Any) -> Reader:
        return Reader(guarded(*arguments, **named))

    return make
