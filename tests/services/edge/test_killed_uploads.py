"""An edge that is killed in the middle of uploads: nothing of them stays, and each repeat under its key is one job."""

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import input_name
from tests.kit.broker import Broker
from tests.kit.edge import PROMPT, Edge, submit
from tests.kit.process import PLANTED
from tests.kit.waiting import eventually
from tests.services.edge import talk
from tests.services.edge.body.forms import FIELDS, form, kind, noise, uri
from tests.services.edge.test_deletion import files, state
from tests.services.edge.test_forms import send

FORM_KEY, JSON_KEY = f"form-{PLANTED}", f"json-{PLANTED}"
CLEANS = {"CLEANUP_INTERVAL": "0.3"}
OLD_S = 7200.0
"""Older than any leftover may become."""

# `python -m services.edge`, which kills itself once it has stored the first input and would publish the job.
DYING = """
import os, runpy, signal
from services.edge import app
async def die(self, *arguments, **named): os.kill(os.getpid(), signal.SIGKILL)
app.Jobs._enqueue = die
runpy.run_module("services.edge", run_name="__main__")
"""


class Dying(Edge):
    """An edge that dies between the input of its first job and the job."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        super().__init__(folder, broker)
        self._arguments = ["-c", DYING]


def on_disk(edge: Edge) -> int:
    """Return how many files without a name the edge has open: what it has spooled."""
    links = []
    for descriptor in Path(f"/proc/{edge.pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    return sum(link.startswith("/") and link.endswith("(deleted)") for link in links)


async def half_sent(edge: Edge, body: bytes, content_type: str, key: str) -> asyncio.StreamWriter:
    """Send the head of a submission and a half of its body, and return the open connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    lines = (f"Idempotency-Key: {key}", f"Content-Length: {len(body)}")
    writer.write(talk.post("/video/submit", *lines, content_type=content_type) + body[: len(body) // 2])
    await writer.drain()
    return writer


async def cleaned_up(edge: Edge) -> None:
    """Wait until a clean-up has passed that began after now: it removes a file that is put before it."""
    decoy = edge.scratch / input_name(uuid.uuid4().hex)
    decoy.write_bytes(b"of no job")
    age(decoy)
    await eventually(lambda: not decoy.exists(), within_s=30)


def age(file: Path) -> None:
    """Have a file look as if it had been there for long."""
    os.utime(file, (time.time() - OLD_S, time.time() - OLD_S))


async def jobs(link: Bus) -> list[str]:
    """Return the ids of all jobs in the queue, each of which the log has once."""
    queued = [subjects.job_id_of(each.subject) for each in await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)]
    logged = await link.read(subjects.EVENTS_STREAM, "video.events.*.submitted")
    assert sorted(queued) == sorted(subjects.job_id_of(each.subject) for each in logged)
    return queued


async def inputs_of(link: Bus) -> set[str]:
    """Return the names of the inputs that the jobs in the queue have."""
    stored = await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)
    submissions = [wire.decode_submission(each.data) for each in stored]
    return {input_name(each.job_id, each.input_tag) for each in submissions}


async def test_uploads_that_are_half_done_when_the_edge_is_killed_leave_nothing(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus, broker: Broker, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    edge = edges(TMPDIR=str(temporary))
    await edge.ready(client)
    other = (await submit(client, edge))[1]["requestId"]
    before = files(edge)
    fields = {"prompt": PROMPT, "num_frames": 25, "infer_steps": 20, "image_url": uri(noise())}
    uploads = [
        (form(**FIELDS, image=noise()), kind()["Content-Type"], FORM_KEY),
        (json.dumps(fields).encode(), "application/json", JSON_KEY),
    ]
    cut = [await half_sent(edge, *upload) for upload in uploads]
    await eventually(lambda: on_disk(edge) >= len(cut))
    edge.kill()
    for writer in cut:
        writer.transport.abort()
    assert files(edge) == before
    assert [path for path in temporary.glob("**/*") if path.is_file()] == []
    edge.start()
    await edge.ready(client)
    async with state(broker, edge, tmp_path, **CLEANS):
        assert await jobs(link) == [other]
        sent: list[list[dict[str, str]]] = []
        for body, content_type, key in uploads:
            headers = {"Content-Type": content_type, "Idempotency-Key": key}
            answers = [await send(client, edge, body, **headers) for _ in range(2)]
            assert [code for code, _ in answers] == [202, 202]
            sent.append([answer for _, answer in answers])
        await cleaned_up(edge)
        assert all(first == again for first, again in sent)
        assert await jobs(link) == [other, *(first["requestId"] for first, _ in sent)]
        assert {f"inputs/{file.name}" for file in files(edge)} == await inputs_of(link)


async def test_an_input_whose_edge_is_killed_before_the_job_is_published_goes_and_a_repeat_is_one_job(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus, broker: Broker, tmp_path: Path
) -> None:
    dying, key = Dying(tmp_path, broker), {"Idempotency-Key": FORM_KEY}
    dying.start()
    await dying.ready(client)
    with suppress(aiohttp.ClientError):
        await send(client, dying, form(**FIELDS, image=noise()), **key)
    assert dying.wait(10) == -signal.SIGKILL
    (orphan,) = files(dying)
    age(orphan)
    assert await jobs(link) == []
    edge = edges()
    await edge.ready(client)
    async with state(broker, edge, tmp_path, **CLEANS):
        answers = [await send(client, edge, form(**FIELDS, image=noise()), **key) for _ in range(2)]
        assert answers[0][0] == 202
        assert answers[0] == answers[1]
        await eventually(lambda: not orphan.exists(), within_s=30)
        assert await jobs(link) == [answers[0][1]["requestId"]]
        assert {f"inputs/{file.name}" for file in files(edge)} == await inputs_of(link)
