"""Keep all keys of the broker in the memory of the edge, so that a request is checked without a question.

`app` runs it. The bucket is looked at every `LOOK_EVERY_S`: one question for its last sequence, and one more for what
has changed. So a revoked key is refused within seconds at every edge, and a flood of unknown keys asks nothing.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

from nats.js.api import StreamInfo
from nats.js.errors import APIError

from contracts import subjects
from contracts.broker import Bus, Unavailable
from contracts.decoding import Undecodable
from contracts.process import lifetime, log
from contracts.process.reasons import Reasons
from services.edge.auth.caller import Caller
from services.edge.auth.key_table import KeyTable

LOOK_EVERY_S = 1.0
LOOK_WITHIN_S = 2.0
GOOD_FOR_S = 60.0
"""How long keys are believed while the broker cannot be asked; after that every request is answered 503."""
STREAM = subjects.bucket_stream(subjects.KEYS_BUCKET)
NOT_READ = "the keys cannot be read from the broker"


class Keys:
    """The keys as one edge knows them. `watched` keeps them fresh for as long as its block."""

    def __init__(self, broker: Bus) -> None:
        self._broker = broker
        self._table = KeyTable()
        self._seen = 0
        """The sequence of the last entry that was read."""
        self._made: object = None
        """When the bucket was made, by which one that was lost and made anew is noticed."""
        self._looked_at = -math.inf

    @property
    def objection(self) -> str | None:
        """Return why no key can be checked now; None if keys can be."""
        return NOT_READ if time.monotonic() - self._looked_at > GOOD_FOR_S else None

    def caller(self, headers: list[bytes]) -> Caller:
        """Return who shows the key in these `Authorization` headers. Raises `BadKey`, or `Unavailable`."""
        if (objection := self.objection) is not None:
            raise Unavailable(objection)
        return self._table.caller(headers, time.time())

    async def run(self, stop: asyncio.Event) -> None:
        """Look at the bucket now and then, until `stop`. A failure is logged once for each reason."""
        reasons = Reasons()
        while not stop.is_set():
            try:
                await self.look()
                reasons.over()
            except (Unavailable, APIError) as error:
                if reasons.is_new(str(error)):
                    log.get().warning("keys_not_read", error=str(error))
            await lifetime.wait_until_set(stop, within_s=LOOK_EVERY_S)

    async def look(self) -> None:
        """Read what has changed; all, if the bucket is another one, or has lost entries. Raises `Unavailable`."""
        began = time.monotonic()
        info = await self._broker.stream(STREAM, within_s=LOOK_WITHIN_S)
        if not self._is_same(info):
            await self._read_all(info)
        elif info.state.last_seq > self._seen:
            self._seen = await self._read_into(self._table, after=self._seen)
            if not self._is_same(info):
                await self._read_all(info)
        self._looked_at = began

    def _is_same(self, info: StreamInfo) -> bool:
        """Return whether the table can have come from this bucket: none of its entries is gone."""
        return (
            info.created == self._made
            and info.state.last_seq >= self._seen
            and info.state.messages >= len(self._table.entries)
        )

    async def _read_all(self, info: StreamInfo) -> None:
        """Read the whole bucket into a new table."""
        table = KeyTable()
        seen = await self._read_into(table, after=0)
        self._table, self._seen, self._made = table, seen, info.created

    async def _read_into(self, table: KeyTable, *, after: int) -> int:
        """Read the entries that come after a sequence, and return that of the last one.

        An entry that cannot be read is logged, and its key is refused.
        """
        pattern = subjects.bucket_key(subjects.KEYS_BUCKET, ">")
        for stored in await self._broker.read(STREAM, pattern, after=after, within_s=LOOK_WITHIN_S):
            entry = stored.subject.removeprefix(subjects.bucket_key(subjects.KEYS_BUCKET, ""))
            try:
                table.note(entry, stored.data)
            except Undecodable as error:
                log.get().error("key_unreadable", entry=entry, error=str(error))
            after = stored.sequence
        return after


@asynccontextmanager
async def watched(keys: Keys | None) -> AsyncGenerator[Keys | None, None]:
    """Keep keys fresh for the length of the block; do nothing without keys."""
    async with nullcontext() if keys is None else lifetime.beside(keys.run):
        yield keys
