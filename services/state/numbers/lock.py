"""A lock in the broker, as a lease: at most one process holds it, and another takes over from a dead one.

The lock is a key that its holder writes again and again by compare-and-set; the broker drops it `TTL_S` after the last
write. The holder itself counts that time from before it wrote, so it stops being the holder before anybody else can
begin, also if it was frozen meanwhile.
"""

import asyncio
import time
from contextlib import suppress

from contracts.broker import Bus, Expect, Refused, Unavailable, WrongSequence
from contracts.process import lifetime, log
from contracts.process.reasons import Reasons
from contracts.subjects import bucket_key, bucket_stream

TTL_S = 5
RENEW_EVERY_S = 1.5
TRY_EVERY_S = 1.0
ASK_WITHIN_S = 1.2
MARGIN_S = 0.5
"""How much earlier than the broker the holder takes its lease to be over."""


class Lock:
    """View that one process has of a lock, from `keep` on. `instance` tells the process from all others."""

    def __init__(self, broker: Bus, bucket: str, key: str, instance: str) -> None:
        self._broker, self._stream, self._subject = broker, bucket_stream(bucket), bucket_key(bucket, key)
        self._instance = instance.encode()
        self._revision = 0
        self._until = 0.0
        self.taken, self.lost = asyncio.Event(), asyncio.Event()
        """The one or the other is set, by whether this process has the lock; `held` is what counts in between."""
        self.lost.set()

    @property
    def held(self) -> bool:
        """Return whether this process holds the lock now, by the monotonic clock."""
        return time.monotonic() < self._until

    async def keep(self, stop: asyncio.Event) -> None:
        """Take the lock whenever it is free, and renew it, until `stop`; then give it up.

        Without a broker goes on trying. Logs what the broker objects to, once for each reason.
        """
        reasons = Reasons()
        while not stop.is_set():
            try:
                await (self._write() if self.held else self._take_if_free())
                reasons.over()
            except (Unavailable, Refused) as error:
                if reasons.is_new(str(error)):
                    log.get().warning("numbers_put_off", error=str(error))
            self._note()
            await lifetime.wait_until_set(stop, within_s=RENEW_EVERY_S if self.held else TRY_EVERY_S)
        await self._give_up()
        self._note()

    def _note(self) -> None:
        """Set or clear `taken`, and log a change."""
        if self.held and not self.taken.is_set():
            log.get().info("numbers_taken")
            self.taken.set()
            self.lost.clear()
        elif not self.held and self.taken.is_set():
            log.get().info("numbers_left")
            self.taken.clear()
            self.lost.set()

    async def _take_if_free(self) -> None:
        """Write the key if nobody else's value is there, or this process's own from a try whose answer was lost."""
        there = await self._broker.last(self._stream, self._subject, within_s=ASK_WITHIN_S)
        if there is None or there.data in (b"", self._instance):
            self._revision = 0 if there is None else there.sequence
            await self._write()

    async def _write(self) -> None:
        """Write the key over the revision that this process knows. If another was first, this one is not the holder."""
        asked_at = time.monotonic()
        try:
            written = await self._broker.publish(
                self._subject, self._instance, expect=Expect(self._revision), ttl_s=TTL_S, within_s=ASK_WITHIN_S
            )
        except WrongSequence:
            self._until = 0.0
        else:
            self._revision, self._until = written.sequence, asked_at + TTL_S - MARGIN_S

    async def _give_up(self) -> None:
        """Empty the key, so that another process need not wait for the end of the lease."""
        if self.held:
            self._until = 0.0
            with suppress(Unavailable, Refused):
                expect = Expect(self._revision)
                await self._broker.publish(self._subject, b"", expect=expect, ttl_s=TTL_S, within_s=ASK_WITHIN_S)
