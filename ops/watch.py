"""Prints the events of all jobs, or of one, as they happen, a line for each: `python -m ops.watch [ID]` (`just watch`).

It only reads, and ends with Ctrl-C. It asks the log for what is new a few times a second, and does not subscribe: so no
event is missed or shown twice over a reconnect, and a broker that has fallen silent is noticed. It shows no prompt.
"""

import asyncio
import sys

from contracts import subjects
from contracts.broker import REQUEST_WITHIN_S, Bus, Stored
from contracts.job import is_job_id
from contracts.process import env, lifetime, log, start
from ops.broker import Settings, answering
from ops.events import line
from ops.printing import reader_may_leave

LOOK_EVERY_S = 0.25
PROMPTS = ("prompt", "negative_prompt")


async def watch(broker: Bus, pattern: str, stop: asyncio.Event) -> None:
    """Print each event on a pattern of the log that is stored from now on, until `stop`. Raises `Unavailable`.

    An outage of up to `REQUEST_WITHIN_S`, such as an election of three brokers, only delays what is shown.
    """
    after = (await broker.stream(subjects.EVENTS_STREAM)).state.last_seq
    while not stop.is_set():
        for event in await broker.read(subjects.EVENTS_STREAM, pattern, after=after, within_s=REQUEST_WITHIN_S):
            after = event.sequence
            print(live_line(event), flush=True)
        await lifetime.wait_until_set(stop, within_s=LOOK_EVERY_S)


def live_line(stored: Stored) -> str:
    """Return an event as the job's id and the line that `just events` has, without prompts."""
    return f"{log.escaped(subjects.job_id_of(stored.subject))}  {line(stored, hidden=PROMPTS)}"


async def main(pattern: str) -> None:
    """Watch until Ctrl-C. Ends the process with a sentence if the broker is away, silent, or not provisioned."""
    stop = lifetime.stop_on_signals()
    async with answering(env.read(Settings), name="watch", stop=stop) as broker:
        if not stop.is_set():
            await watch(broker, pattern, stop)


def pattern_of(arguments: list[str]) -> str:
    """Return the pattern of the events to show. Ends the process with the usage if an argument is no job's id."""
    match arguments:
        case []:
            return subjects.ALL_EVENTS
        case [job_id] if is_job_id(job_id):
            return subjects.events_of(job_id)
        case _:
            sys.exit("usage: python -m ops.watch [ID], where ID is the 32 lower-case hex characters of a requestId")


if __name__ == "__main__":
    with start.refusing("watch"), reader_may_leave():
        pattern = pattern_of(sys.argv[1:])
        start.configure_log("watch")
        asyncio.run(main(pattern))
