from collections.abc import Callable

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.job import input_name, video_name
from contracts.stores import open_store
from tests.kit.edge import Edge, submit
from tests.kit.object_store import ObjectStore, object_store
from tests.services.edge.test_edge import end_succeeded

__all__ = ["object_store"]

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def buckets(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of an edge on two new buckets, which are this process's too."""
    for name, value in object_store.variables.items():
        monkeypatch.setenv(name, value)
    stores = {"VIDEO_STORE_URL": object_store.bucket() + "/videos", "SCRATCH_STORE_URL": object_store.bucket()}
    return {**object_store.variables, **stores}


async def test_an_edge_works_with_an_object_store_as_it_does_with_a_folder(
    buckets: dict[str, str], edges: Callable[..., Edge], client: aiohttp.ClientSession, link: Bus
) -> None:
    edge = edges(**buckets)
    await edge.ready(client)
    videos, scratch = open_store(buckets["VIDEO_STORE_URL"]), open_store(buckets["SCRATCH_STORE_URL"])

    code, body = await submit(client, edge)
    assert code == 202, body
    job_id = body["requestId"]
    assert (await scratch.read(input_name(job_id)) or b"").startswith(b"\x89PNG")
    await videos.write(video_name(job_id), CONTENT)
    await end_succeeded(link, job_id)

    async def get(**headers: str) -> tuple[int, bytes]:
        async with client.get(f"{edge.url}/videos/{job_id}.mp4", headers=headers) as answer:
            return answer.status, await answer.read()

    assert await get() == (200, CONTENT)
    assert await get(Range="bytes=100-199") == (206, CONTENT[100:200])
    async with client.head(f"{edge.url}/videos/{job_id}.mp4") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))
        assert await get(**{"If-None-Match": answer.headers["ETag"]}) == (304, b"")
    await videos.delete(video_name(job_id))
    assert (await get())[0] == 410
