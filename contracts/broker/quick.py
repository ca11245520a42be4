"""nats-py's client with a second kind of request, which costs a third of the CPU time: for what clients poll.

nats-py hands an answer on by way of parsed headers, a queue, a task and two timers. Here the connection's reader
resolves the future of the request itself, and the headers stay bytes. In the same way it calls whoever taps a subject.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client

from contracts.broker.complaints import Denial

_NO_RESPONDERS = b"NATS/1.0 503"


class Answer(NamedTuple):
    """The answer to a quick request; `headers` as they came, empty if there are none."""

    headers: bytes
    data: bytes


class QuickClient(Client):
    """A client with `quick` and `tap`. All quick requests share one subscription, which lives as long as the client."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[bytes, tuple[str, asyncio.Future[Answer]]] = {}
        """Subject and future of each request without an answer, by the last token of the subject of its answer."""
        self._number = 0
        self._prefix = ""
        self._quick_sid = -1
        self._opening = asyncio.Lock()
        self._taps: dict[int, Callable[[bytes, bytes], None]] = {}
        """Whom to call with the messages of a subscription, by its id."""

    async def quick(self, subject: str, payload: bytes, *, within_s: float) -> Answer:
        """Send a request and return its answer.

        Raises `TimeoutError`, `Denied`, `NoRespondersError` if nobody listens, and nats-py's errors of `publish`.
        """
        if self._quick_sid < 0:
            await self._open()
        self._number += 1
        token = b"%d" % self._number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._asked[token] = subject, future
        timer = loop.call_later(within_s, _expire, future)
        try:
            await self.publish(subject, payload, reply=f"{self._prefix}{self._number}")
            answer = await future
        finally:
            timer.cancel()
            del self._asked[token]
        if answer.headers.startswith(_NO_RESPONDERS) and not answer.data:
            raise nats.errors.NoRespondersError
        return answer

    def deny(self, denial: Denial) -> None:
        """Have the quick requests on this subject fail: nobody will answer them."""
        for subject, future in self._asked.values():
            if denial.is_of(subject) and not future.done():
                future.set_exception(denial.error)

    async def tap(self, subject: str, call: Callable[[bytes, bytes], None]) -> None:
        """Have `call` called with headers and payload of every message on a subject, for as long as the client lives.

        Nothing is queued, unlike with `subscribe`: `call` may neither wait nor raise. Returns once the server knows of
        the subscription. Raises nats-py's errors of `subscribe` and `flush`.
        """
        subscription = await self.subscribe(subject, cb=_drop)
        sid = subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as `_process_msg` gets it
        self._taps[sid] = call
        try:
            await self.flush()
        except BaseException:
            del self._taps[sid]
            with suppress(nats.errors.Error, OSError):  # the connection may be gone
                await subscription.unsubscribe()
            raise

    async def _open(self) -> None:
        """Subscribe to the answers, unless that has been done."""
        async with self._opening:
            if self._quick_sid < 0:
                self._prefix = f"{self.new_inbox()}."
                subscription = await self.subscribe(f"{self._prefix}*", cb=_drop)
                self._quick_sid = subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as `_process_msg` gets it

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Take what the connection's reader has read. For nats-py to call."""
        if (call := self._taps.get(sid)) is not None:
            call(bytes(headers or b""), data)
            return
        if sid != self._quick_sid:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        asked = self._asked.get(bytes(subject[len(self._prefix) :]))
        if asked is not None and not asked[1].done():
            asked[1].set_result(Answer(bytes(headers or b""), data))


async def _drop(_: Any) -> None:
    """Do nothing: the answers never get as far as the subscription's callback."""


def _expire(future: "asyncio.Future[Answer]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())
