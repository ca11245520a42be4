"""Requests to `/v1` as the `openai` package and others send them, and jobs brought to an end by hand: for tests."""

import json
from typing import Any

import aiohttp
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import video_name
from tests.kit.builders import failed, succeeded
from tests.kit.edge import Edge
from tests.services.edge.body.forms import form, kind, png

SMALL = {"prompt": "a cat", "num_frames": "25", "num_inference_steps": "20"}


async def ask(
    client: aiohttp.ClientSession, edge: Edge, method: str, path: str, **request: Any
) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers (in lower case) of an answer below `/v1`."""
    async with client.request(method, f"{edge.url}/v1{path}", **request) as answer:
        body = await answer.read()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, json.loads(body) if answer.content_type == "application/json" else body, headers


async def create(
    client: aiohttp.ClientSession, edge: Edge, *, boundary: str = "b", headers: Any = None, **fields: Any
) -> Any:
    """Create a video by a form, and return its object."""
    body = form(boundary, **{**SMALL, "input_reference": png(), **fields})
    code, video, _ = await ask(
        client, edge, "POST", "/videos", data=body, headers={**kind(boundary), **(headers or {})}
    )
    assert code == 200, video
    return video


async def end(link: Bus, edge: Edge, video: Any, *, reason: str = "") -> None:
    """End a video's job as succeeded, with a file, or as failed for a reason."""
    job_id = video["id"].removeprefix("video_")
    ending = (
        replace(failed(1, 4e9), job_id=job_id, reason=reason) if reason else replace(succeeded(1, 4e9), job_id=job_id)
    )
    if not reason:
        edge.videos.mkdir(exist_ok=True)
        (edge.videos / video_name(job_id)).write_bytes(bytes(1000))
    await link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    queued = await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id))
    assert queued is not None
    await link.delete(subjects.JOBS_STREAM, queued.sequence)
