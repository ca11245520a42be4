"""Uploads by forms to `/video/submit` on a running edge, over real sockets."""

import asyncio
import io
from pathlib import Path

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import input_name
from tests.kit.edge import PROMPT, Edge, picture, post
from tests.kit.waiting import eventually
from tests.services.edge import talk
from tests.services.edge.body.forms import FIELDS, form, kind, noise, part, png
from tests.services.edge.talk import ask, parsed

SUBMIT = "/video/submit"


async def send(client: aiohttp.ClientSession, edge: Edge, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
    async with client.post(edge.url + SUBMIT, data=io.BytesIO(body), headers={**kind(), **headers}) as answer:
        return answer.status, await answer.json()


def head(length: int, *more: str) -> bytes:
    return talk.post(SUBMIT, f"Content-Length: {length}", *more, content_type=kind()["Content-Type"])


async def test_an_upload_becomes_the_job_that_json_makes(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    code, uploaded = await send(client, edge, form(**FIELDS, seed="3", image=png()))
    assert code == 202
    body = {"prompt": PROMPT, "num_frames": 25, "infer_steps": 20, "seed": 3, "image_url": picture(64, 64)}
    code, in_json = await post(client, edge.url + SUBMIT, body)
    assert code == 202
    jobs = [
        wire.decode_submission(stored.data)
        for job_id in (uploaded["requestId"], in_json["requestId"])
        if (stored := await link.last(subjects.JOBS_STREAM, subjects.job(job_id))) is not None
    ]
    assert jobs[0].job == jobs[1].job
    inputs = [(edge.scratch / input_name(job.job_id)).read_bytes() for job in jobs]
    assert inputs[0] == inputs[1]


async def test_a_repeat_with_another_boundary_is_the_same_job(client: aiohttp.ClientSession, edge: Edge) -> None:
    key = {"Idempotency-Key": "k"}
    code, first = await send(client, edge, form(**FIELDS, image=noise()), **key)
    assert code == 202
    async with client.post(
        edge.url + SUBMIT, data=io.BytesIO(form("another", image=noise(), **FIELDS)), headers={**kind("another"), **key}
    ) as answer:
        assert (answer.status, answer.headers["Idempotent-Replayed"]) == (202, "true")
        assert await answer.json() == first
    assert (await send(client, edge, form(**FIELDS, image=png()), **key))[0] == 422


async def test_a_bad_upload_is_refused_by_its_part(client: aiohttp.ClientSession, edge: Edge) -> None:
    code, answer = await send(client, edge, form(**FIELDS, image=b"text"))
    assert code == 400
    assert answer["message"].startswith("image: ")
    code, answer = await send(client, edge, form(**FIELDS))
    assert (code, answer["error"]) == (400, "VALIDATION_ERROR")
    assert "image_url is missing" in answer["message"]


async def test_a_large_upload_goes_to_disk_and_leaves_nothing(client: aiohttp.ClientSession, edge: Edge) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{edge.pid}/fd").iterdir()))

    assert (await send(client, edge, form(**FIELDS, image=noise())))[0] == 202
    before = descriptors()
    half = form(**FIELDS, image=noise())[:-1000]
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(head(len(half) + 1000) + half)
    await writer.drain()
    await eventually(lambda: descriptors() > before)
    writer.transport.abort()
    await eventually(lambda: descriptors() <= before)
    assert reader is not None
    assert (await send(client, edge, form(**FIELDS, image=noise())))[0] == 202


async def test_a_body_over_the_limit_and_one_that_is_cut_are_refused_clearly(edge: Edge) -> None:
    body = part("prompt", PROMPT) + part("image", png())
    status, answer = parsed(await ask(edge, head(len(body), "Connection: close") + body))
    assert (status, answer["error"]) == (400, "VALIDATION_ERROR")
    assert "Unexpected end" in answer["message"]
    status, answer = parsed(await ask(edge, head(40 * 1024**2, "Connection: close") + body))
    assert (status, answer["error"]) == (413, "TOO_LARGE")


async def test_a_form_is_taken_for_submissions_alone(client: aiohttp.ClientSession, edge: Edge) -> None:
    for path in ("/video/status", "/video/cancel"):
        async with client.post(edge.url + path, data=form(requestId="0" * 32), headers=kind()) as answer:
            assert answer.status == 415
    for boundary in ("", "x" * 71, "ä"):
        headers = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        async with client.post(edge.url + SUBMIT, data=b"", headers=headers) as answer:
            assert answer.status == 415
            assert "boundary" in (await answer.json())["message"]
