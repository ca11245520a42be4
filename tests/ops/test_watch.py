"""Live events, as `just watch` shows them, from a real broker."""

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from contracts import subjects, wire
from contracts.broker import Bus, Stored
from contracts.events import Event
from ops.watch import live_line
from tests.kit.broker import Broker
from tests.kit.builders import ID, cancelled, started, step, submitted
from tests.kit.machine import REPOSITORY
from tests.kit.process import Process, completed, environment
from tests.kit.waiting import eventually

OTHER_ID = "f" * 32
READY = f"video.events.{'e' * 32}.step"


async def publish(link: Bus, *events: Event) -> None:
    for event in events:
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)


@contextmanager
def watching(folder: Path, broker: Broker, *arguments: str) -> Generator[Process, None, None]:
    process = Process(["-m", "ops.watch", *arguments], folder / "watch.log", **broker.environment).start()
    try:
        yield process
    finally:
        if process.alive:
            process.kill()


async def begun(link: Bus, process: Process, subject: str = READY) -> None:
    """Publish what cannot be read until the process shows it."""

    async def shown() -> bool:
        await link.publish(subject, b"", within_s=2)
        assert process.alive, process.text
        return "unreadable" in process.text

    await eventually(shown, within_s=30)


def kinds(process: Process) -> list[str]:
    lines = [line for line in process.text.splitlines() if "unreadable" not in line]
    return [" ".join(line.split()[0:4:3]) for line in lines]


async def test_every_event_is_a_line_until_ctrl_c(broker: Broker, link: Bus, tmp_path: Path) -> None:
    await publish(link, submitted())
    with watching(tmp_path, broker) as process:
        await begun(link, process)
        await publish(link, started(1, 101.0), step(1, 102.0, 1, 0.2), cancelled(103.0))
        wanted = [f"{ID} started", f"{ID} step", f"{ID} finished.cancelled"]
        await eventually(lambda: kinds(process) == wanted)
        assert process.stop(signal.SIGINT) == 0
        assert kinds(process) == wanted


async def test_one_job_is_watched_alone(broker: Broker, link: Bus, tmp_path: Path) -> None:
    with watching(tmp_path, broker, OTHER_ID) as process:
        await begun(link, process, f"video.events.{OTHER_ID}.step")
        await publish(link, started(1, 101.0))
        await link.publish(f"video.events.{OTHER_ID}.started", b"", within_s=2)
        await eventually(lambda: "started" in process.text)
        assert ID not in process.text


async def test_nothing_is_missed_or_doubled_over_a_restart_of_the_broker(
    broker: Broker, link: Bus, tmp_path: Path
) -> None:
    with watching(tmp_path, broker) as process:
        await begun(link, process)
        await publish(link, started(1, 101.0))
        await eventually(lambda: len(kinds(process)) == 1)
        broker.kill()
        broker.start()
        await eventually(lambda: link.connected)
        await publish(link, *(step(1, 102.0, number, 0.1) for number in range(1, 6)))
        await eventually(lambda: len(kinds(process)) == 6)
        assert process.stop(signal.SIGINT) == 0
        assert len(kinds(process)) == 6


async def test_a_broker_that_falls_silent_is_one_sentence(broker: Broker, link: Bus, tmp_path: Path) -> None:
    with watching(tmp_path, broker) as process:
        await begun(link, process)
        broker.send(signal.SIGSTOP)
        try:
            await eventually(lambda: not process.alive, within_s=30)
        finally:
            broker.send(signal.SIGCONT)
        assert process.wait(1) == 1
        assert process.text.splitlines()[-1] == (
            f"the broker at {broker.address} has fallen silent (NATS_URL): is it well?"
        )
        assert "Traceback" not in process.text


def test_no_broker_and_no_streams_are_one_sentence_each(broker: Broker) -> None:
    bare = completed("-m", "ops.watch", within_s=40, **broker.environment)
    broker.kill()
    none = completed("-m", "ops.watch", within_s=40, **broker.environment)
    assert (bare.returncode, bare.stdout, none.returncode, none.stdout) == (1, "", 1, "")
    assert bare.stderr == f"the broker at {broker.address} is not provisioned: `just provision`\n"
    assert none.stderr == f"no broker answers at {broker.address} (NATS_URL); does the service run?\n"


@pytest.mark.parametrize("arguments", [["*"], [ID.upper()], [ID, ID]])
def test_what_is_no_id_is_not_asked_for(arguments: list[str], broker: Broker) -> None:
    done = completed("-m", "ops.watch", *arguments, within_s=40, **broker.environment)
    assert done.returncode == 1
    assert done.stderr.startswith("usage")


class Piped(Process):
    """A process whose output goes to a reader that leaves after the first line; the log has standard error alone."""

    def _launch(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        command = f"{sys.executable} -m ops.watch | head -n 1"
        return subprocess.Popen(
            ["sh", "-c", command],
            cwd=REPOSITORY,
            env=environment(**self._variables),
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


async def test_a_reader_that_leaves_ends_it_without_a_word(broker: Broker, link: Bus, tmp_path: Path) -> None:
    process = Piped([], tmp_path / "errors", **broker.environment).start()

    async def ended() -> bool:
        await link.publish(READY, b"", within_s=2)
        return not process.alive

    await eventually(ended, within_s=30)
    assert process.text == ""


def test_a_line_has_the_job_and_no_prompt() -> None:
    shown = live_line(Stored(subjects.event(submitted()), 1, wire.encode(submitted()), 0.0))
    assert shown.startswith(f"{ID}  ")
    assert "seed=7" in shown
    assert "prompt" not in shown
    assert "boat" not in shown


def test_a_subject_cannot_command_the_terminal() -> None:
    assert live_line(Stored("video.live.\x1b[2J.\x1b]0;owned\x07", 1, b"", 0.0)).isprintable()
