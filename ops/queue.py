"""Prints what waits and runs, in the queue's order, a line for each job: `python -m ops.queue` (`just queue`).

It only reads: the queue, the last events of its jobs in the log (so that it is right also while the state service is
away), and the heartbeats of clusters. It never shows a prompt.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from contracts import subjects, wire
from contracts.broker import Bus, Stored
from contracts.cluster import ClusterStatus
from contracts.fold import fold_all
from contracts.job import is_job_id
from contracts.live_clusters import live_clusters
from contracts.process import env, log, start
from contracts.status import JobStatus
from ops.broker import ANSWER_WITHIN_S, Settings, answering
from ops.printing import reader_may_leave, span

SHOWN_MAX = 1000
IDS_AT_ONCE = 128
"""Jobs whose last events are asked for at once: up to 7 kinds each, and the broker answers for 1024 subjects."""
HEAD = ("#", "id", "age", "state", "attempt", "cluster", "progress", "size")
NOTHING = "-"


class Queue(Struct, frozen=True):
    """The unfinished jobs that the broker holds: all are counted, and the first `SHOWN_MAX` are in `jobs`.

    `events` has the last events of each of them, by id; `now` is the broker's time in Unix seconds.
    """

    jobs: Sequence[Stored]
    events: Mapping[str, Sequence[Stored]]
    clusters: Sequence[ClusterStatus]
    unfinished: int
    waiting: int
    admitted: int
    now: float


async def read(broker: Bus) -> Queue:
    """Return what the broker holds now. Raises `Unavailable`, and `NotFoundError` if it is not provisioned."""
    queue = await broker.stream(subjects.JOBS_STREAM, within_s=ANSWER_WITHIN_S)
    durable = await broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
    jobs = await broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS, at_most=SHOWN_MAX, within_s=ANSWER_WITHIN_S)
    return Queue(
        jobs=jobs,
        events=await _last_events(broker, [subjects.job_id_of(job.subject) for job in jobs]),
        clusters=await live_clusters(broker),
        unfinished=queue.state.messages,
        waiting=durable.num_pending or 0,
        admitted=queue.config.max_msgs or 0,
        now=await broker.now(),
    )


async def _last_events(broker: Bus, tokens: Iterable[str]) -> dict[str, list[Stored]]:
    """Return the last event of each kind, but for endings, of each job; a token may be no id. Raises `Unavailable`."""
    found: dict[str, list[Stored]] = {}
    patterns = [subjects.last_events_of(job_id) for job_id in tokens if is_job_id(job_id)]
    for first in range(0, len(patterns), IDS_AT_ONCE):
        some = patterns[first : first + IDS_AT_ONCE]
        for event in await broker.last_of_each(subjects.EVENTS_STREAM, some, within_s=ANSWER_WITHIN_S):
            found.setdefault(subjects.job_id_of(event.subject), []).append(event)
    return found


def table(queue: Queue) -> list[str]:
    """Return the lines to print: a sentence with the counts, then a table, and what it leaves out."""
    in_hand = max(0, queue.unfinished - queue.waiting)
    lines = [f"{queue.waiting} wait, {in_hand} are with clusters, {queue.admitted} are admitted"]
    if not queue.jobs:
        return lines
    holders = {job_id: cluster.name for cluster in queue.clusters for job_id in cluster.current_jobs}
    rows = [HEAD, *(_row(place, job, queue, holders) for place, job in enumerate(queue.jobs, 1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    left = queue.unfinished - len(queue.jobs)
    return [*lines, f"and {left} more"] if left > 0 else lines


def _row(place: int, job: Stored, queue: Queue, holders: Mapping[str, str]) -> tuple[str, ...]:
    """Return the cells of a job. Texts that anybody may have published are escaped."""
    job_id = subjects.job_id_of(job.subject)
    events = queue.events.get(job_id, ())
    status = fold_all(wire.readable_events(events)) or JobStatus(job_id=job_id)
    return (
        str(place),
        log.escaped(job_id),
        span(queue.now - job.at),
        _state(status, events),
        str(status.attempt) if status.attempt else NOTHING,
        log.escaped(holders.get(job_id, NOTHING)),
        f"{status.progress:.0%}" if status.attempt else NOTHING,
        _size(job, status),
    )


def _state(status: JobStatus, events: Iterable[Stored]) -> str:
    """Return what happens to a job: the stage that it is in, or why it waits."""
    if status.status == "InProgress":
        return status.stage or "started"
    if any(event.subject == subjects.declined(status.job_id) for event in events):
        return "declined"
    return "handed back" if status.released_attempt else "waits"


def _size(job: Stored, status: JobStatus) -> str:
    """Return the size of a job's video, as far as it is decided or asked for."""
    if status.width is not None:
        return f"{status.width}*{status.height}"
    try:
        return wire.decode_submission(job.data).job.image_size or NOTHING
    except wire.Undecodable:
        return "unreadable"


async def main() -> None:
    """Print the queue. Ends the process with a sentence if the broker is away, silent, or not provisioned."""
    start.configure_log("queue")
    async with answering(env.read(Settings), name="queue") as broker:
        queue = await read(broker)
    with reader_may_leave():
        print("\n".join(table(queue)))


if __name__ == "__main__":
    with start.refusing("queue"):
        asyncio.run(main())
