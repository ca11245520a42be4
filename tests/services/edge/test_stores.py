"""Stores that cannot be written to, as a real edge meets them: at its start, and while it runs."""

import resource
import subprocess
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.process.start import EX_CONFIG
from tests.kit.broker import Broker
from tests.kit.edge import Edge, submit
from tests.kit.no_links import below, no_links
from tests.kit.process import completed
from tests.kit.waiting import eventually

__all__ = ["no_links"]

START_WITHIN_S = 60.0
NO_LINKS = "VIDEO_STORE_URL takes no hard links, or may not be written to (EPERM)"


async def get(client: aiohttp.ClientSession, edge: Edge, path: str) -> tuple[int, Any]:
    async with client.get(f"{edge.url}/{path}") as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("module", ["services.edge", "services.state", "inference"])
@pytest.mark.parametrize("setting", ["VIDEO_STORE_URL", "SCRATCH_STORE_URL"])
def test_a_store_whose_path_cannot_be_made_ends_a_start_with_one_sentence(
    tmp_path: Path, broker: Broker, module: str, setting: str
) -> None:
    stores = {"VIDEO_STORE_URL": str(tmp_path / "videos"), "SCRATCH_STORE_URL": str(tmp_path / "scratch")}
    variables = {**broker.environment, **stores, setting: "/proc/nope"}
    done = completed("-m", module, within_s=START_WITHIN_S, **variables)
    assert done.returncode == EX_CONFIG
    assert done.stderr.splitlines()[-1].startswith(f"{setting}: /proc/nope cannot be written to: ENOENT, ")
    assert "Traceback" not in done.stderr
    assert done.stdout.count("store_unusable") == 1


@pytest.mark.parametrize("store", ["videos", "scratch"])
def test_a_store_without_hard_links_ends_a_start_with_one_sentence(
    tmp_path: Path, broker: Broker, no_links: Path, store: str
) -> None:
    edge = Edge(tmp_path, broker, **below(tmp_path / store, no_links)).start()
    assert edge.wait(START_WITHIN_S) == EX_CONFIG
    setting = {"videos": "VIDEO_STORE_URL", "scratch": "SCRATCH_STORE_URL"}[store]
    sentence = edge.text.splitlines()[-1]
    assert sentence.startswith(
        f"{setting}: {tmp_path / store} takes no hard links, or may not be written to: EPERM, [Errno 1] "
    )
    assert [path.name for path in (tmp_path / store).iterdir() if path.name != ".tmp"] in ([], ["inputs"])


@pytest.fixture
def immutable(tmp_path: Path) -> Generator[Callable[[bool], None], None, None]:
    """Makes the folder of videos one in which nothing can be made, though its `.tmp` takes drafts, and undoes it."""
    folder = tmp_path / "videos"

    def change(on: bool) -> None:
        done = subprocess.run(["chattr", "+i" if on else "-i", folder], capture_output=True, check=False)
        if on and done.returncode != 0:
            pytest.skip(f"NOT RUN: nobody can make a folder immutable here: {done.stderr.decode().strip()}")

    yield change
    change(on=False)


async def test_a_store_that_stops_taking_files_is_said_everywhere_and_heals(
    edge: Edge, client: aiohttp.ClientSession, immutable: Callable[[bool], None]
) -> None:
    immutable(True)

    async def not_ready() -> bool:
        return (await get(client, edge, "readyz"))[0] == 503

    await eventually(not_ready)
    assert await get(client, edge, "readyz") == (503, {"error": "UNAVAILABLE", "message": NO_LINKS})
    _, health = await get(client, edge, "health")
    assert (health["status"], health["stores"]) == ("degraded", [NO_LINKS])
    code, body = await submit(client, edge)
    assert (code, body["error"]) == (503, "UNAVAILABLE")
    assert str(edge.videos) not in str(body)
    lines = await edge.logged(client)
    refused = [line["error"] for line in lines if line["event"] == "unavailable"]
    assert refused and all("VIDEO_STORE_URL" in error and str(edge.videos) in error for error in refused)
    (unusable,) = [line for line in lines if line["event"] == "store_unusable"]
    assert (unusable["store"], unusable["path"]) == ("VIDEO_STORE_URL", str(edge.videos))
    assert "EPERM" in unusable["error"]
    assert not list(edge.scratch.glob("inputs/*"))
    immutable(False)
    await edge.ready(client)
    assert (await submit(client, edge))[0] == 202
    assert (await get(client, edge, "health"))[1]["stores"] == []
    assert {path.name for path in edge.videos.iterdir()} <= {".tmp", "jobs"}


def first_free_descriptor(edge: Edge) -> int:
    in_use = {int(file.name) for file in Path(f"/proc/{edge.pid}/fd").iterdir()}
    return next(number for number in count() if number not in in_use)


async def test_an_edge_out_of_descriptors_does_not_call_its_stores_full(
    edge: Edge, client: aiohttp.ClientSession
) -> None:
    before = resource.prlimit(edge.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, (first_free_descriptor(edge), before[1]))
    try:

        async def out_of_them() -> str:
            try:
                code, body = await get(client, edge, "readyz")
            except aiohttp.ClientConnectionError:  # it has closed an idle connection, and can take no new one
                resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, before)
                await get(client, edge, "livez")
                resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, (first_free_descriptor(edge), before[1]))
                return ""
            return body["message"] if code == 503 else ""

        assert "out of file descriptors (EMFILE)" in await eventually(out_of_them)
    finally:
        resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, before)
    await edge.ready(client)


async def test_many_edges_on_one_store_find_nothing_wrong_with_it(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    several = [edges() for _ in range(3)]
    for edge in several:
        await edge.ready(client)
    for _ in range(10):
        for edge in several:
            assert (await get(client, edge, "readyz"))[0] == 200
    assert not any("store_unusable" in edge.text for edge in several)
    assert {path.name for path in several[0].videos.iterdir()} <= {".tmp", "jobs"}
