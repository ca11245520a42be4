"""The reading of bodies, by itself and through a running edge."""

import asyncio
import base64
import io
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.cluster import Objection
from contracts.job import input_name
from contracts.process.start import EX_CONFIG
from services.edge.body import bodies
from services.edge.body.bodies import BODIES_BYTES_MIN, SUBMISSION_BYTES_MAX, Bodies, Content, Submission
from services.edge.body.dialect import JOBS
from services.edge.body.idempotency import keyed_identity
from services.edge.body.submission import parse
from services.edge.errors import Invalid, Overloaded
from services.edge.resources.sandbox import Sandbox
from services.edge.resources.spool import MEMORY_BYTES_MAX
from tests.kit import auth
from tests.kit.edge import PROMPT, Edge, picture, post, submit
from tests.kit.process import completed
from tests.kit.waiting import eventually

FIELDS = {"prompt": PROMPT, "num_frames": 25, "infer_steps": 20}


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), MEMORY_BYTES_MAX):
        yield body[start : start + MEMORY_BYTES_MAX]


async def read(body: bytes, use: Callable[[Submission], Any] = lambda asked: asked.request, **limits: int) -> Any:
    """Return the result of `use` on the submission in a body, while its spools are open."""
    async with Sandbox() as sandbox:
        everything = Bodies(sandbox, **limits)
        with everything.spool() as spool, everything.spool() as text:
            return use(await everything.read(Content(pieces(body), JOBS, None), spool, text))


def noise() -> str:
    """A picture of some 500 kB as a `data:` URI."""
    file = io.BytesIO()
    Image.frombytes("RGB", (400, 400), random.Random(1).randbytes(3 * 400 * 400)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def document(**fields: Any) -> bytes:
    return json.dumps({**FIELDS, **fields}).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"image_url": noise()},
        {"image_url": "http://example.org/a.png", "negative_prompt": "猫" * MEMORY_BYTES_MAX},
        {"image_url": picture(), "more": "x" * MEMORY_BYTES_MAX, "seed": "one", "prompt": 3},
    ],
)
async def test_a_large_body_is_read_as_a_small_one_is(change: dict[str, Any]) -> None:
    body = document(**change)
    assert len(body) > MEMORY_BYTES_MAX
    if wrong := objections_to(body):
        with pytest.raises(Invalid) as refusal:
            await read(body)
        assert refusal.value.objections == wrong
    else:
        assert msgspec.structs.replace(await read(body), image_url="") == msgspec.structs.replace(
            parse(body), image_url=""
        )


def objections_to(body: bytes) -> list[Objection]:
    try:
        parse(body)
    except Invalid as refusal:
        return refusal.objections
    return []


async def test_a_large_picture_is_kept_apart_and_counts_in_the_fingerprint_as_if_it_were_not() -> None:
    uri = noise()
    escaped = json.dumps({**FIELDS, "image_url": uri}).replace("/", "\\/").replace("+", "\\u002B").encode()

    def check(asked: Submission) -> None:
        assert asked.inline is not None
        with asked.inline.mapped() as text:
            assert text[:] == uri.encode()
        whole = msgspec.structs.replace(asked.request, image_url=uri)
        kept_apart = keyed_identity(b"secret", "key", asked)
        assert kept_apart == keyed_identity(b"secret", "key", Submission(whole))

    for body in (document(image_url=uri), escaped):
        await read(body, check)


async def test_bodies_wait_for_their_share_of_the_memory_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SHARE_WITHIN_S", 0.05)
    everything = Bodies(Sandbox())
    async with everything.memory.claim(10**12):
        with everything.spool() as spool, everything.spool() as text, pytest.raises(Overloaded):
            await everything.read(Content(pieces(document(image_url=noise())), JOBS, None), spool, text)
        with everything.spool() as spool, everything.spool() as text:
            assert await everything.read(Content(pieces(document(image_url=picture())), JOBS, None), spool, text)


def test_one_largest_request_must_fit() -> None:
    for wrong in (str(BODIES_BYTES_MIN - 1), "0", "-1", "96MB", "1" * 30):
        done = completed("-m", "services.edge", within_s=60, BODIES_BYTES_MAX=wrong)
        assert done.returncode == EX_CONFIG
        assert done.stderr.startswith("BODIES_BYTES_MAX was ")
        assert len(done.stderr.splitlines()) == 1


async def test_a_large_picture_becomes_a_job_and_leaves_nothing_open(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{edge.pid}/fd").iterdir()))

    assert (await submit(client, edge))[0] == 202
    assert (await submit(client, edge, image_url="http://127.0.0.1/"))[0] == 400  # opens what fetches need
    before = descriptors()
    key = {"Idempotency-Key": "large"}
    code, first = await post(client, f"{edge.url}/video/submit", {**FIELDS, "image_url": noise()}, key)
    assert code == 202
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(first["requestId"]))
    assert stored is not None
    submitted = wire.decode_submission(stored.data)
    assert submitted.job.prompt == PROMPT
    name = input_name(first["requestId"], submitted.input_tag)
    assert (edge.scratch / name).read_bytes().startswith(b"\x89PNG")
    assert await post(client, f"{edge.url}/video/submit", {**FIELDS, "image_url": noise()}, key) == (202, first)
    changed = {**FIELDS, "image_url": noise()[:-8] + "AAAAAAA="}
    assert (await post(client, f"{edge.url}/video/submit", changed, key))[0] == 422
    await eventually(lambda: descriptors() <= before)


async def test_a_bad_large_picture_says_why(client: aiohttp.ClientSession, edge: Edge) -> None:
    for uri, why in (("data:text/plain," + "x" * 10**5, "this is a text"), (noise() + "!", "base64 is damaged")):
        code, answer = await submit(client, edge, image_url=uri)
        assert (code, answer["details"][0]["field"]) == (400, "image_url")
        assert why in answer["message"]


async def raw(client: aiohttp.ClientSession, edge: Edge, body: bytes) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    async with client.post(f"{edge.url}/video/submit", data=io.BytesIO(body), headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_body_of_very_many_fields_or_lists_holds_up_nobody_and_is_answered_in_few_words(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    fields = b",".join(b'"%06x":0' % number for number in range(2_700_000))
    attacks = [b'{"prompt":"short",' + fields + b"}", b'{"x":1,"seed":[' + b"[]," * 9_000_000 + b"[]]}"]
    assert all(len(body) < SUBMISSION_BYTES_MAX for body in attacks)
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        while True:
            began = time.monotonic()
            async with client.get(f"{edge.url}/livez") as answer:
                assert answer.status == 200
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.02)

    async with auth.client_session(timeout=aiohttp.ClientTimeout(60)) as patient:
        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(raw(patient, edge, body) for body in attacks))
        watching.cancel()
    assert [status for status, _ in answers] == [400, 400]
    assert all(len(answer) < 8192 for _, answer in answers)
    assert "2699990 more" in answers[0][1].decode()
    assert "prompt was" in answers[0][1].decode()
    assert "seed was [[]" in answers[1][1].decode()
    assert slowest < 2, "the loop was held up"


async def test_an_edge_that_is_ended_does_not_wait_for_bodies_that_wait(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    """Their children end with it."""
    body = b'{"prompt":"short",' + b",".join(b'"%06x":0' % number for number in range(2_700_000)) + b"}"
    asking = [asyncio.create_task(raw(client, edge, body)) for _ in range(3)]
    await eventually(lambda: grandchildren_of(edge.pid), within_s=30)
    began = time.monotonic()
    await asyncio.to_thread(edge.stop)
    assert time.monotonic() - began < 25
    await asyncio.gather(*asking, return_exceptions=True)


def grandchildren_of(pid: int) -> list[str]:
    """The children of the edge's fork server."""
    return [child for server in children_of(pid) for child in children_of(int(server))]


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
