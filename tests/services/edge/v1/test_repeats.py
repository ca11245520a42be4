"""Requests that the `openai` package repeats without a key: three tries are one job, on whichever edge they arrive."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from services.edge.payloads import UnavailableBody
from services.edge.video_errors import as_video_error
from tests.kit.builders import ID
from tests.kit.edge import Edge
from tests.services.edge.body.forms import form, kind, png
from tests.services.edge.v1.asking import SMALL, ask, create

CALLER = {"Authorization": "Bearer one"}
OTHER_CALLER = {"Authorization": "Bearer two"}
"""Callers who are told apart by what they show, though nobody asks them for a key."""


@pytest.fixture
async def edge(edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession) -> Edge:
    edge = edges(AUTH="off")
    await edge.ready(client)
    return edge


def attempt(count: int, caller: dict[str, str] = CALLER) -> dict[str, str]:
    return {**caller, "x-stainless-retry-count": str(count)}


async def test_a_repeat_is_the_same_job_on_another_edge_and_after_a_restart(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], edge: Edge, link: Bus
) -> None:
    first = await create(client, edge, headers=attempt(0), boundary="first")
    other = edges(AUTH="off")
    await other.ready(client)
    assert edge.stop() == 0
    for count in (1, 2):
        assert (await create(client, other, headers=attempt(count), boundary=f"b{count}"))["id"] == first["id"]
    queue = await link.stream(subjects.JOBS_STREAM)
    assert queue.state.messages == 1


async def test_first_tries_and_repeats_of_other_requests_and_of_other_callers_are_jobs_of_their_own(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    first = await create(client, edge, headers=attempt(0))
    others = [
        await create(client, edge, headers=attempt(0)),  # asked for twice on purpose
        await create(client, edge, headers=attempt(1), seed="1"),
        await create(client, edge, headers=attempt(1), input_reference=png(color="red")),
        await create(client, edge, headers=attempt(1, OTHER_CALLER)),
    ]
    assert len({video["id"] for video in [first, *others]}) == 5


async def test_the_repeat_of_a_refused_request_is_a_new_job(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    videos: list[Any] = [await create(client, edge, headers=attempt(0), prompt=f"cat {n}") for n in range(5)]
    body, headers = form(**SMALL, input_reference=png()), {**kind("a-boundary"), **attempt(0)}
    assert (await ask(client, edge, "POST", "/videos", data=body, headers=headers))[0] == 429
    await ask(client, edge, "DELETE", f"/videos/{videos[0]['id']}")
    made = await create(client, edge, headers=attempt(1))
    assert made["id"] not in {video["id"] for video in videos}
    assert (await create(client, edge, headers=attempt(2)))["id"] == made["id"]


def test_an_unknown_outcome_is_not_tried_again_by_itself_and_names_the_video() -> None:
    status, body, headers = as_video_error(503, UnavailableBody("UNAVAILABLE", "no answer in time", ID))
    assert (status, body.error.code, body.error.type) == (503, "outcome_unknown", "server_error")
    assert f"video_{ID}" in body.error.message
    assert headers == {"x-should-retry": "false"}
    status, body, headers = as_video_error(503, UnavailableBody("UNAVAILABLE", "the service cannot answer now"))
    assert (body.error.code, headers) == ("unavailable", {})


async def test_what_repeats_leave_is_bounded(link: Bus) -> None:
    config = (await link.stream(subjects.bucket_stream(subjects.REPEATS_BUCKET))).config
    assert (config.max_age, config.max_msgs, config.max_msgs_per_subject) == (600, 100_000, 1)
