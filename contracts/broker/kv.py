"""Key-value buckets: get, and put by compare-and-set on the revision that was read; counters on top of them.

A bucket is a stream `KV_…` with a subject for every key; a key's revision is the sequence of its last message. Mixed
into `bus.Bus`.
"""

from contextlib import suppress
from functools import partial

from contracts.broker.connection import REQUEST_WITHIN_S
from contracts.broker.direct_get import Stored
from contracts.broker.errors import Unavailable, WrongSequence
from contracts.broker.publishing import Expect, Publishing
from contracts.broker.streams import Streams
from contracts.process import log
from contracts.subjects import bucket_key, bucket_stream

COUNTER_DIGITS_MAX = 15
COUNT_TRIES_MAX = 50


class Buckets(Publishing, Streams):
    """The part of the bus that reads and writes key-value buckets. Every method may raise `Unavailable`."""

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Return the last value of a key with its revision (`sequence`); None for no key, bucket, or a deleted key.

        With replicas the value may be stale; a `put` over it then fails.
        """
        found = await self.last(bucket_stream(bucket), bucket_key(bucket, key), leader=False)
        return found if found is not None and found.data else None  # a deleted key leaves an empty message

    async def put(self, bucket: str, key: str, value: bytes, *, revision: int, ttl_s: int | None = None) -> int:
        """Write if the key is still at `revision` (0 for no key, or a deleted one), and return its new revision.

        The value expires after `ttl_s`, or as the bucket has it. Raises `WrongSequence` if the key is at another
        revision: another writer was first, or an earlier try of this call has stored the value and its answer was lost.
        Read the key back to tell. Raises another `Refused` if the value is too large, for example.
        """
        subject = bucket_key(bucket, key)
        write = partial(self.publish, subject, value, ttl_s=ttl_s, within_s=REQUEST_WITHIN_S)
        try:
            return (await write(expect=Expect(revision))).sequence
        except WrongSequence:
            there = await self.last(bucket_stream(bucket), subject)
            if revision or there is None or there.data:
                raise
            return (await write(expect=Expect(there.sequence))).sequence

    async def put_last(self, bucket: str, key: str, value: bytes, *, within_s: float = REQUEST_WITHIN_S) -> None:
        """Write over any value of the key; an empty value removes the key. Raises `Refused`, such as `TooLarge`."""
        await self.publish(bucket_key(bucket, key), value, within_s=within_s)

    async def values(self, bucket: str) -> list[bytes]:
        """Return the last value of every key that has one; with replicas the values may be stale.

        JetStream answers for at most `streams.SUBJECTS_MAX` keys: with more, this raises `Unavailable`.
        """
        messages = await self.last_of_each(bucket_stream(bucket), [bucket_key(bucket, ">")])
        return [message.data for message in messages if message.data]

    async def count(self, bucket: str, key: str) -> int:
        """Return a counter's value; 0 if nobody has counted yet, or if the key's value is no counter."""
        return _counted(await self.get(bucket, key))

    async def count_up(self, bucket: str, key: str) -> None:
        """Add one to a counter by compare-and-set, or two if the answer to a write is lost.

        A value that is no counter counts as 0.

        Raises `Unavailable` if other writers are quicker `COUNT_TRIES_MAX` times in a row.
        """
        for _ in range(COUNT_TRIES_MAX):
            stored = await self.get(bucket, key)
            with suppress(WrongSequence):
                count = str(_counted(stored) + 1).encode()
                await self.put(bucket, key, count, revision=0 if stored is None else stored.sequence)
                return
        raise Unavailable(f"{COUNT_TRIES_MAX} counts of {key} were overtaken")


def _counted(stored: Stored | None) -> int:
    """Return the number in a counter's message; 0 for no message, and, with an error logged, for one without a number.

    Anybody may have written anything to the key, thousands of digits too.
    """
    text = b"" if stored is None else stored.data
    if stored is not None and not (text.isdigit() and len(text) <= COUNTER_DIGITS_MAX):
        log.get().error("counter_unreadable", subject=stored.subject)
        return 0
    return int(text or b"0")
