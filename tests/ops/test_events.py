import signal
import subprocess

import msgspec
import pytest

from contracts import subjects, wire
from contracts.broker import Bus, Stored
from contracts.events import Event, JobFailed
from ops.broker import Settings, answering
from ops.events import VALUE_CHARS_MAX, line, log_of
from tests.kit.broker import Broker
from tests.kit.builders import ID, JOB, cancelled, released, stage, started, step, submitted, succeeded
from tests.kit.process import completed

OTHER_ID = "f" * 32
LOG = [
    submitted(),
    started(1, 101.0),
    stage(1, 102.0, 0.1),
    step(1, 103.0, 1, 0.2),
    released(1, 104.0),
    succeeded(2, 105.0),
]


async def publish(link: Bus, *events: Event) -> None:
    for event in events:
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)


def stored(event: Event) -> Stored:
    return Stored(subjects.event(event), 1, wire.encode(event), 0.0)


def events_command(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    return completed("-m", "ops.events", *arguments, within_s=20, **broker.environment)


async def test_a_log_is_shown_in_the_order_it_happened_in(link: Bus) -> None:
    await publish(link, *LOG)
    kinds = [line.split()[2] for line in await log_of(link, ID)]
    assert kinds == ["submitted", "started", "stage", "step", "released", "finished.succeeded"]


async def test_the_log_of_another_job_is_not_shown(link: Bus) -> None:
    await publish(link, *LOG, cancelled(106.0))
    assert await log_of(link, OTHER_ID) == []


async def test_an_unknown_job_is_said_and_exits_1(broker: Broker, link: Bus) -> None:
    answer = events_command(broker, OTHER_ID)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert f"the log knows no job {OTHER_ID}" in answer.stderr


async def test_a_known_job_is_printed(broker: Broker, link: Bus) -> None:
    await publish(link, *LOG)
    answer = events_command(broker, ID)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert len(answer.stdout.splitlines()) == len(LOG)


@pytest.mark.parametrize("word", ["", "*", ">", ID.upper(), ID + "\n", ID[:-1]])
def test_what_is_no_id_is_not_asked_for(word: str, broker: Broker) -> None:
    answer = events_command(broker, word)
    assert answer.returncode == 1
    assert answer.stderr.startswith("usage")


def test_no_broker_is_said(broker: Broker) -> None:
    broker.kill()
    answer = events_command(broker, ID)
    assert answer.returncode == 1
    assert f"no broker answers at {broker.address} (NATS_URL)" in answer.stderr
    broker.start()


def test_a_broker_without_streams_is_said(broker: Broker) -> None:
    answer = events_command(broker, ID)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"the broker at {broker.address} is not provisioned: `just provision`\n"


async def test_a_broker_that_falls_silent_is_said(broker: Broker, link: Bus) -> None:
    async def ask() -> None:
        async with answering(Settings(nats_url=broker.url), name="events") as silent:
            broker.send(signal.SIGSTOP)
            await log_of(silent, ID)

    with pytest.raises(SystemExit, match=r"has fallen silent \(NATS_URL\): is it well\?$"):
        await ask()
    broker.send(signal.SIGCONT)


def test_the_submitted_line_shows_the_whole_job() -> None:
    shown = line(stored(submitted()))
    assert f"prompt='{JOB.prompt}'" in shown
    assert "seed=7" in shown
    assert "ulysses_size" not in shown  # left to the cluster


def test_a_long_value_is_cut() -> None:
    event = submitted()
    event = msgspec.structs.replace(event, job=msgspec.structs.replace(event.job, prompt="p" * 500))
    assert "p" * VALUE_CHARS_MAX not in line(stored(event))
    assert "p" * (VALUE_CHARS_MAX - 1) + "…" in line(stored(event))


def test_a_prompt_cannot_command_the_terminal() -> None:
    event = submitted()
    hostile = "\x1b]0;owned\x07 \x9b2J \u202e \r\n"
    event = msgspec.structs.replace(event, job=msgspec.structs.replace(event.job, prompt=hostile))
    assert line(stored(event)).isprintable()


def test_a_reason_is_shown() -> None:
    failed = JobFailed(job_id=ID, at=105.0, attempt=3, instance="i", reason="it was too large")
    assert line(stored(failed)).endswith("finished.failed     attempt 3  instance='i' reason='it was too large'")


def test_what_cannot_be_decoded_is_shown_all_the_same() -> None:
    assert "unreadable" in line(Stored(f"video.events.{ID}.step", 42, b"{\x1b", 0.0))
    assert "#42" in line(Stored(f"video.events.{ID}.step", 42, b"{", 0.0))
