"""Trim the index of jobs to what the log still knows. `__main__` calls `trim_index` in every clean-up.

The broker copies each submission from the log into the index, and forgets both after the same time. A log that is full
forgets earlier.
"""

from contracts import subjects
from contracts.broker import Bus
from contracts.job_log import JobLog


async def trim_index(broker: Bus, job_log: JobLog) -> None:
    """Purge the oldest entries of the index, whose submissions the log has forgotten. Raises `Unavailable`.

    The first entry to stay is found by a binary search: the log forgets the oldest first.
    """
    index = subjects.bucket_stream(subjects.INDEX_BUCKET)
    places = (await broker.stream(index)).state
    low, high = places.first_seq, places.last_seq + 1
    middle = low  # mostly the log has them all
    while low < high:
        entry = await broker.next_from(index, middle)
        if entry is None or await job_log.stored_submission(subjects.job_id_of(entry.subject)) is not None:
            high = middle
        else:
            low = entry.sequence + 1
        middle = (low + high) // 2
    if low > places.first_seq:
        await broker.purge(index, subjects.bucket_key(subjects.INDEX_BUCKET, ">"), before=low)
