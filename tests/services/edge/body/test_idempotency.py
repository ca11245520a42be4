import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from contracts.job import JobRequest
from services.edge.body.bodies import Submission
from services.edge.body.idempotency import KEY_CHARS_MAX, key_in, keyed_identity
from services.edge.errors import Invalid
from tests.kit.broker import Broker
from tests.kit.edge import PROMPT, Edge, picture, post
from tests.kit.process import PLANTED

BODY: dict[str, Any] = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25}
REQUEST = JobRequest(prompt=PROMPT, image_url="data:")
FINGERPRINT_BEFORE = "a9073caa53cc33470ba7aaa048286a26059493a0ac252e7866d58d69992e820f"


async def submit(
    client: aiohttp.ClientSession, edge: Edge, key: str, **changes: Any
) -> tuple[int, str | None, str | None]:
    """Status, id, and whether it was a replay."""
    url = f"{edge.url}/video/submit"
    key = f'{key[:-1]} {PLANTED}"' if key.endswith('"') else f"{key} {PLANTED}"
    async with client.post(url, json={**BODY, **changes}, headers={"Idempotency-Key": key}) as answer:
        body = await answer.json()
        return answer.status, body.get("requestId"), answer.headers.get("Idempotent-Replayed")


@pytest.mark.parametrize(
    ("header", "key"), [("a", "a"), ('"a b"', "a b"), ("  a ", "a"), ('"', '"'), ("x" * 255, "x" * 255)]
)
def test_a_key_is_read_quoted_or_bare(header: str, key: str) -> None:
    assert key_in(header) == key


@pytest.mark.parametrize("header", ["", '""', "x" * (KEY_CHARS_MAX + 1)])
def test_a_key_has_1_to_255_characters(header: str) -> None:
    with pytest.raises(Invalid, match="1 to 255"):
        key_in(header)


def test_an_id_depends_on_the_key_alone_and_a_fingerprint_on_the_request_too() -> None:
    first = keyed_identity(b"secret", "key", Submission(REQUEST))
    assert first == keyed_identity(b"secret", "key", Submission(REQUEST))
    other = JobRequest(prompt=PROMPT, image_url="data:", seed=1)
    assert keyed_identity(b"secret", "key", Submission(other)).job_id == first.job_id
    assert keyed_identity(b"secret", "key", Submission(other)).fingerprint != first.fingerprint
    assert keyed_identity(b"secret", "other", Submission(REQUEST)).job_id != first.job_id
    assert keyed_identity(b"another", "key", Submission(REQUEST)).job_id != first.job_id
    assert len(first.job_id) == 32


def test_a_fingerprint_outlives_an_upgrade_that_adds_fields() -> None:
    """What is left out is no part of the fingerprint: it is that of the version before `model` and `metadata`."""
    assert keyed_identity(b"secret", "key", Submission(REQUEST)).fingerprint == FINGERPRINT_BEFORE


async def test_a_repeat_is_the_same_job_and_another_request_under_the_key_is_422(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    status, job_id, replayed = await submit(client, edge, "k1")
    assert (status, replayed) == (202, None)
    assert await submit(client, edge, '"k1"') == (202, job_id, "true")
    assert (await submit(client, edge, "k1", seed=5))[0] == 422
    assert (await submit(client, edge, "k2"))[1] != job_id
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 2


async def test_a_repeat_is_not_fetched_again_nor_refused_when_full(client: aiohttp.ClientSession, edge: Edge) -> None:
    _, job_id, _ = await submit(client, edge, "k1")
    for n in range(4):
        await submit(client, edge, f"other {n}")
    assert (await submit(client, edge, "one too many"))[0] == 429
    assert await submit(client, edge, "k1") == (202, job_id, "true")
    assert (await submit(client, edge, "one too many"))[0] == 429


async def test_a_repeat_of_an_ended_job_does_not_run_again_over_a_restart_of_the_broker(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus
) -> None:
    _, job_id, _ = await submit(client, edge, "k1")
    await post(client, f"{edge.url}/video/cancel", {"requestId": job_id})
    broker.kill()
    broker.start()
    await edge.ready(client)
    assert await submit(client, edge, "k1") == (202, job_id, "true")
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 0


async def test_50_at_once_over_two_edges_with_the_broker_restarted_in_between_are_one_job(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker, link: Bus
) -> None:
    pair = [edges(), edges()]
    for edge in pair:
        await edge.ready(client)

    async def until_answered(n: int) -> tuple[str | None, str | None]:
        while True:
            status, job_id, replayed = await submit(client, pair[n % 2], "the key")
            if status != 503:
                assert status == 202
                return job_id, replayed

    tasks = [asyncio.create_task(until_answered(n)) for n in range(50)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    broker.kill()
    broker.start()
    answers = await asyncio.gather(*tasks)
    assert len({job_id for job_id, _ in answers}) == 1
    assert Counter(replayed for _, replayed in answers)["true"] >= 49
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 1
    log = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    # Once, or not yet: a broker that dies between storing a job and copying it loses the copy, until state looks.
    assert [event.subject for event in log] in ([], [subjects.submission_of(str(answers[0][0]))])
    assert (await submit(client, pair[0], "the key", seed=5))[0] == 422
