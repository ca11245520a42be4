"""One request in the spellings that clients have for it, through a running edge."""

import asyncio
import json

import aiohttp

from contracts import subjects
from contracts.broker import Bus
from tests.kit.edge import PROMPT, Edge, picture
from tests.services.edge.body.test_bodies import noise


async def send(client: aiohttp.ClientSession, edge: Edge, body: str, key: str | None = None) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    async with client.post(f"{edge.url}/video/submit", data=body.encode(), headers=headers) as answer:
        said = await answer.json()
        return answer.status, said.get("requestId") or json.dumps(said)


async def test_data_uris_small_and_large_are_taken_with_blanks_and_line_breaks(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    small, large = picture(), noise()
    spellings = (" \n" + small, "da\nta:" + small[5:] + "\n", "\t" + large + " ", "\x00d\tata:" + large[5:])
    answers = [await send(client, edge, json.dumps({"prompt": PROMPT, "image_url": url})) for url in spellings]
    assert [status for status, _ in answers] == [202] * len(spellings)
    assert len(list(edge.scratch.glob("inputs/*"))) == len(spellings)


async def test_whole_numbers_written_with_a_fraction_of_zero_are_the_same_request_and_whole_on_the_wire(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    fields = f'"prompt":"{PROMPT}","image_url":"{picture()}"'
    status, job_id = await send(client, edge, f'{{{fields},"seed":1.0,"infer_steps":20.0,"num_frames":2.5e1}}', "k")
    assert status == 202, job_id
    assert await send(client, edge, f'{{{fields},"seed":1,"infer_steps":20,"num_frames":25}}', "k") == (202, job_id)
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(job_id))
    assert stored is not None
    job = json.loads(stored.data)["job"]
    assert [job[name] for name in ("seed", "infer_steps", "num_frames")] == [1, 20, 25]
    assert all(type(job[name]) is int for name in ("seed", "infer_steps", "num_frames"))


async def test_a_malformed_host_is_a_sentence_of_form(client: aiohttp.ClientSession, edge: Edge) -> None:
    urls = ("https://a..b/c.png", "http://256.1.1.1/x", "http://a%20b/x.png", "https://a\u2028b.example/x.png")
    answers = await asyncio.gather(
        *(send(client, edge, json.dumps({"prompt": PROMPT, "image_url": url})) for url in urls)
    )
    for (status, said), words in zip(answers, ("empty part", "no IPv4 address", "holds a blank", "IDNA"), strict=True):
        assert (status, words in said) == (400, True), said
