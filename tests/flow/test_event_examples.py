"""The examples on the page of events, run as printed but for the address; and every event of real jobs, as judged."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import Bus
from ops import catalogue
from tests.flow.conftest import PUBLIC_URL
from tests.flow.faults import cancel
from tests.kit.pages import example
from tests.kit.process import environment
from tests.kit.road import LONG, Road
from tests.kit.waiting import eventually

PAGE = "contracts/events.md"
HEARD_WITHIN_S = 60
DURABLE = "BILLING"
MESSAGES = catalogue.document()["components"]["messages"]


def printed(road: Road, words: str) -> str:
    """Return the example with these words, with this road's address."""
    found = example(PAGE, words).replace("nats://127.0.0.1:4222", road.broker.url)
    assert road.broker.url in found
    return found


async def started(code: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=pipe, stderr=pipe, env=environment()
    )


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    return [(await asyncio.wait_for(process.stdout.readline(), HEARD_WITHIN_S)).decode() for _ in range(count)]


async def killed(process: asyncio.subprocess.Process) -> str:
    """Kill a program that runs until then, and return what it had printed beside what was read."""
    if process.returncode is None:
        process.kill()
    out, err = await process.communicate()
    assert process.returncode == -signal.SIGKILL, err.decode()
    return out.decode()


async def acknowledged(link: Bus) -> int:
    """Return up to which sequence of its own the durable has everything acknowledged; 0 before there is one."""
    try:
        floor = (await link.consumer(subjects.EVENTS_STREAM, DURABLE)).ack_floor
    except NotFoundError:
        return 0
    return 0 if floor is None else floor.consumer_seq


async def test_a_durable_subscriber_goes_on_where_it_was_killed(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    code = printed(road, f'durable="{DURABLE}"')
    await link.publish(f"video.events.{77:032x}.finished.failed", b"of something else", within_s=5)
    there = len(await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS))
    first_job = await road.submit(client)
    await road.ended(client, first_job)
    subscriber = await started(code)
    try:
        heard = await lines(subscriber, there + 1)
        await eventually(lambda: is_acknowledged(link, there + 1))
        heard += (await killed(subscriber)).splitlines()
        while_away = await road.submit(client)
        await road.ended(client, while_away)
        subscriber = await started(code)
        later = await lines(subscriber, 1)
    finally:
        rest = await killed(subscriber)
        broker = await nats.connect(road.broker.url)
        await broker.jetstream().delete_consumer(subjects.EVENTS_STREAM, DURABLE)
        await broker.close()
    assert [line.split()[0] for line in later] == ["io.wanjet.job.v1.succeeded"]
    assert while_away in later[0]
    assert rest == ""
    assert len(heard) == there + 1
    assert sum(first_job in line for line in heard) == 1


async def is_acknowledged(link: Bus, count: int) -> bool:
    return await acknowledged(link) >= count


async def test_a_replay_tells_everything_from_a_sequence_on_and_ends(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client)
    await road.ended(client, job_id)
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    first = next(message.sequence for message in stored if job_id in message.subject)
    expected = [message for message in stored if message.sequence >= first]
    assert len(expected) > 10
    program = await started(printed(road, "BY_START_SEQUENCE"), str(first))
    out, err = await asyncio.wait_for(program.communicate(), HEARD_WITHIN_S)
    assert program.returncode == 0, err.decode()
    told = [line.split(" ", 2) for line in out.decode().splitlines()]
    assert [int(sequence) for sequence, _, _ in told] == [message.sequence for message in expected]
    assert [body.encode() for _, _, body in told] == [message.data for message in expected]


@pytest.mark.parametrize("ends_as", ["succeeded", "cancelled"])
async def test_every_event_of_a_job_is_what_the_catalogue_says(
    road: Road, client: aiohttp.ClientSession, ends_as: str
) -> None:
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    broker = await nats.connect(road.broker.url)
    try:
        await broker.subscribe(subjects.ALL_LIVE, cb=hear)
        await broker.flush()
        fields = {} if ends_as == "succeeded" else LONG
        job_id = await road.submit(client, metadata={"order": "17"}, **fields)
        if ends_as == "cancelled":
            await road.at_step(client, job_id, 1)
            await cancel(road, client, job_id)
        await road.ended(client, job_id)
        await eventually(
            lambda: any(subjects.is_ending(message.subject) for message in heard if job_id in message.subject)
        )
    finally:
        await broker.close()
    ours = [message for message in heard if job_id in message.subject]
    assert judged(ours[0]) == "submitted"
    assert {"submitted", "started", "stage", "step", ends_as} <= {judged(message) for message in ours}
    (ending,) = [json.loads(message.data) for message in ours if subjects.is_ending(message.subject)]
    submitted = json.loads(ours[0].data)
    assert (ending["job"], ending["metadata"]) == (submitted["job"], {"order": "17"})
    total_s = ending["at"] - submitted["created_at"]
    assert ending["run_seconds"] > 0
    assert ending["queue_seconds"] + ending["run_seconds"] == pytest.approx(total_s, abs=0.01)
    if ends_as == "succeeded":
        assert ending["video_url"] == f"{PUBLIC_URL}videos/{job_id}.mp4"
        assert (await road.status(client, job_id))["results"]["video_url"] == f"/videos/{job_id}.mp4"


def judged(message: Msg) -> str:
    """Return the name of an event whose headers and body are as both the oracle and the catalogue want them."""
    headers = dict(message.headers or {})
    attributes = from_binary_event(HTTPMessage(headers, message.data), JSONFormat()).get_attributes()
    name = message.subject.rpartition(".")[2]
    assert attributes["type"] == MESSAGES[name]["name"]
    Draft202012Validator(MESSAGES[name]["headers"]).validate(headers)
    schema = json.loads((Path(catalogue.FOLDER) / "schemas" / f"{MESSAGES[name]['title']}.json").read_text())
    Draft202012Validator(schema).validate(json.loads(message.data))
    return name
