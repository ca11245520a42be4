"""What waits and runs, as `just queue` shows it, on a real broker."""

import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.broker.streams import SUBJECTS_MAX
from contracts.cluster import ClusterStatus
from contracts.events import Event, JobDeclined, JobSubmitted
from contracts.job_queue import JobQueue
from contracts.plan import Plan
from ops import queue
from ops.broker import Settings, answering
from ops.queue import HEAD, read, table
from tests.kit.broker import Broker
from tests.kit.builders import ID, JOB, released, started, step, submitted
from tests.kit.process import PLANTED, completed
from tests.ops.brokers import JETSTREAM, server

CLUSTER = ClusterStatus(
    instance="i", name="gpu-1", device="cuda", world_size=8, model="wan", sizes=["832*480"], default_size="832*480",
    heads=40, plan=Plan(cfg_size=1, ulysses_size=8), current_jobs=[ID], started_at=0.0, at=0.0,
)  # fmt: skip
WITHIN_S = 40


def of(number: int) -> str:
    return f"{number:032x}"


def waiting(number: int, size: str | None = None) -> JobSubmitted:
    job = msgspec.structs.replace(JOB, prompt=f"a boat at sea, {PLANTED}", image_size=size)
    return JobSubmitted(job_id=of(number), created_at=100.0, job=job)


async def publish(link: Bus, *events: Event) -> None:
    for event in events:
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)


async def put_in(link: Bus, *jobs: JobSubmitted) -> None:
    for job in jobs:
        assert await JobQueue(link).add(job, within_s=2)


async def rows(link: Bus) -> list[list[str]]:
    """The cells of each job's row, but for its age."""
    lines = table(await read(link))
    heads = [lines[1].index(name) for name in HEAD]
    cells = [[line[a:b].strip() for a, b in zip(heads, [*heads[1:], None], strict=True)] for line in lines[2:]]
    return [[*row[:2], *row[3:]] for row in cells]


def command(broker: Broker) -> subprocess.CompletedProcess[str]:
    return completed("-m", "ops.queue", within_s=WITHIN_S, **broker.environment)


async def test_jobs_are_shown_in_the_order_in_which_they_will_run(link: Bus) -> None:
    await put_in(link, submitted(), waiting(2, "832*480"), waiting(3))
    await publish(link, started(1, 101.0), step(1, 102.0, 5, 0.42))
    await link.put_last(subjects.CLUSTERS_BUCKET, "i", wire.encode(CLUSTER))
    assert await rows(link) == [
        ["1", ID, "denoise", "1", "gpu-1", "42%", "256*144"],
        ["2", of(2), "waits", "-", "-", "-", "832*480"],
        ["3", of(3), "waits", "-", "-", "-", "-"],
    ]


async def test_a_job_that_was_handed_back_or_declined_says_so(link: Bus) -> None:
    await put_in(link, submitted(), waiting(2))
    await publish(link, started(1, 101.0), released(1, 102.0))
    await publish(link, JobDeclined(job_id=of(2), at=101.0, instance="i", unknown="a field"))
    assert [row[2:4] for row in await rows(link)] == [["handed back", "1"], ["declined", "-"]]


async def test_an_empty_queue_is_one_line(link: Bus) -> None:
    assert table(await read(link)) == ["0 wait, 0 are with clusters, 5 are admitted"]


async def test_a_job_of_a_newer_version_and_a_hostile_message_are_shown_too(link: Bus) -> None:
    await link.publish(f"video.jobs.default.{of(1)}", b"{}", within_s=2)
    await link.publish("video.jobs.default.\x1b]0;owned\x07", b"{}", within_s=2)
    shown = table(await read(link))
    assert all(line.isprintable() for line in shown)
    assert [line.split()[-1] for line in shown[2:]] == ["unreadable", "unreadable"]


async def test_a_long_queue_is_cut(link: Bus, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SHOWN_MAX", 2)
    monkeypatch.setattr(queue, "IDS_AT_ONCE", 1)
    await put_in(link, *(waiting(number) for number in range(4)))
    lines = table(await read(link))
    assert lines[0].startswith("4 wait")
    assert len(lines) == 5
    assert lines[-1] == "and 2 more"


def test_the_broker_answers_for_as_many_jobs_as_are_asked_for_at_once() -> None:
    at_submission = {subjects.event(each) for each in (submitted(), started(1, 1.0), released(1, 1.0))}
    assert {subject.count(".") for subject in at_submission} == {subjects.last_events_of(ID).count(".")}
    kinds = ("submitted", "declined", "started", "stage", "step", "progress", "released")
    assert queue.IDS_AT_ONCE * len(kinds) <= SUBJECTS_MAX


async def test_the_command_prints_no_prompt(broker: Broker, link: Bus) -> None:
    await put_in(link, waiting(1))
    done = command(broker)
    assert (done.returncode, done.stderr) == (0, "")
    assert of(1) in done.stdout
    assert PLANTED not in done.stdout


def test_no_broker_is_one_sentence(broker: Broker) -> None:
    broker.kill()
    done = command(broker)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"no broker answers at {broker.address} (NATS_URL); does the service run?\n"


def test_a_broker_without_streams_is_one_sentence(broker: Broker) -> None:
    done = command(broker)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the broker at {broker.address} is not provisioned: `just provision`\n"


def test_a_right_that_is_lacking_is_one_sentence(tmp_path: Path) -> None:
    user = '{ user: u, password: p, permissions: { publish: { deny: "$JS.API.>" } } }'
    with server(tmp_path, f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{user}] }} }}") as variables:
        done = completed("-m", "ops.queue", within_s=WITHIN_S, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not let this user publish to $JS.API.STREAM.INFO" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_broker_that_falls_silent_is_one_sentence(broker: Broker, link: Bus) -> None:
    async def ask() -> None:
        async with answering(Settings(nats_url=broker.url), name="queue") as silent:
            broker.send(signal.SIGSTOP)
            await read(silent)

    with pytest.raises(SystemExit, match=r"^the broker at nats://\S+ has fallen silent \(NATS_URL\): is it well\?$"):
        await ask()
    broker.send(signal.SIGCONT)
