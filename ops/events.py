"""Prints one job's log as the broker holds it, a line for each event: `python -m ops.events ID` (`just events`).

It only reads. The line of the submission shows the whole job, prompt included, since the terminal is the operator's.
"""

import asyncio
import sys
from collections.abc import Collection
from datetime import datetime

from msgspec import UNSET, structs

from contracts import subjects, wire
from contracts.broker import Bus, Stored
from contracts.events import Event, JobCancelled, JobDeclined, JobDeleted, JobSubmitted
from contracts.job import is_job_id
from contracts.process import env, log, start
from ops.broker import ANSWER_WITHIN_S, Settings, answering
from ops.printing import reader_may_leave

VALUE_CHARS_MAX = 100
KIND_CHARS = len("finished.succeeded")
SHOWN_APART = ("job_id", "at", "created_at", "attempt", "job", "metadata")


async def log_of(broker: Bus, job_id: str) -> list[str]:
    """Return the job's events as readable lines, oldest first; none for an id that the log does not know.

    Raises `Unavailable` if the broker does not answer.
    """
    pattern = subjects.events_of(job_id)
    stored = await broker.read(subjects.EVENTS_STREAM, pattern, within_s=ANSWER_WITHIN_S)
    return [line(message) for message in stored]


def line(stored: Stored, *, hidden: Collection[str] = ()) -> str:
    """Return an event as time, kind, attempt and fields; for one that cannot be decoded, its kind and the reason.

    Fields in `hidden` are left out. A subject may be anything that somebody has published: its end is escaped.
    """
    kind = log.escaped(stored.subject.split(".", 3)[-1])
    try:
        event = wire.decode_event(stored.data)
    except wire.Undecodable as error:
        return f"{'unreadable':23}  {kind:{KIND_CHARS}}  #{stored.sequence}: {error}"
    at = event.created_at if isinstance(event, JobSubmitted) else event.at
    without_attempt = isinstance(event, JobSubmitted | JobDeclined | JobCancelled | JobDeleted)
    attempt = "" if without_attempt else f"attempt {event.attempt}"
    return f"{_time(at)}  {kind:{KIND_CHARS}}  {attempt:9}  {_fields(event, (*SHOWN_APART, *hidden))}".rstrip()


def _fields(event: Event, hidden: Collection[str]) -> str:
    """Return the event's fields as `name=value` with blanks between them; for a submission those of its job.

    Left out are those in `hidden`, and fields that are not set.
    """
    shown = structs.asdict(event.job if isinstance(event, JobSubmitted) else event)
    found = {name: value for name, value in shown.items() if name not in hidden and value not in (UNSET, None)}
    return " ".join(f"{name}={_value(value)}" for name, value in found.items())


def _value(value: object) -> str:
    """Return a value by `repr`, which escapes a terminal's control characters, cut after `VALUE_CHARS_MAX`."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


def _time(at: float) -> str:
    """Return a Unix time in this machine's time zone, to the millisecond."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "milliseconds")[:23]


async def print_log(settings: Settings, job_id: str) -> None:
    """Print the log of a job. Ends the process with a sentence if the log does not know it or the broker is away.

    Raises `BadSetting` if no connection can be made.
    """
    async with answering(settings, name="events") as broker:
        lines = await log_of(broker, job_id)
    if not lines:
        sys.exit(f"the log knows no job {job_id}: never accepted, or longer ago than EVENT_RETENTION")
    with reader_may_leave():
        print("\n".join(lines))


def main() -> None:
    """Print the log of the job that the command line names. Ends the process with the usage if that is no job's id."""
    if len(sys.argv) != 2 or not is_job_id(sys.argv[1]):
        sys.exit("usage: python -m ops.events ID, where ID is the 32 lower-case hex characters of a requestId")
    start.configure_log("events")
    asyncio.run(print_log(env.read(Settings), sys.argv[1]))


if __name__ == "__main__":
    with start.refusing("events"):
        main()
