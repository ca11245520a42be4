"""What every store promises, held by a folder and by an object store alike."""

import time
from pathlib import Path

import pytest

from contracts import blobs
from contracts.blobs import Folder, Store
from tests.object_store import ObjectStore, object_store

__all__ = ["object_store"]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return blobs.store(str(tmp_path / "store"))
    objects: ObjectStore = request.getfixturevalue("object_store")
    return objects.fresh(request.getfixturevalue("monkeypatch"))


async def test_the_first_whole_file_of_a_name_stays(store: Store) -> None:
    assert not await store.exists("inputs/a.png")
    assert await store.read("inputs/a.png") is None
    assert await store.write("inputs/a.png", b"first")
    assert not await store.write("inputs/a.png", b"second")
    assert await store.read("inputs/a.png") == b"first"
    assert await store.exists("inputs/a.png")
    await store.delete("inputs/a.png")
    await store.delete("inputs/a.png")
    assert await store.read("inputs/a.png") is None


async def test_a_draft_is_never_readable_under_its_name_until_published_and_never_left_behind(store: Store) -> None:
    with store.draft("a.mp4") as draft:
        draft.write_bytes(b"whole")
        assert not await store.exists("a.mp4")
        assert await store.publish(draft, "a.mp4")
        draft.write_bytes(b"again")
    with store.draft("a.mp4") as second:
        second.write_bytes(b"other")
        assert not await store.publish(second, "a.mp4")
    assert not draft.exists()
    assert not second.exists()
    async with store.local("a.mp4") as path:
        assert path.stat().st_size == 5


async def test_any_part_is_those_bytes(store: Store) -> None:
    content = bytes(n % 251 for n in range(600_000))
    await store.write("a.mp4", content)
    for part in (range(len(content)), range(1), range(100, 300_000), range(599_999, 600_000)):
        assert b"".join([chunk async for chunk in store.stream("a.mp4", part)]) == content[part.start : part.stop]


async def test_the_facts_of_a_file_are_its_own(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        await store.facts("a.mp4")
    with pytest.raises(FileNotFoundError):
        async with store.local("a.mp4"):
            pass
    await store.write("a.mp4", b"abc")
    await store.write("b.mp4", b"other")
    facts = await store.facts("a.mp4")
    assert (facts.name, facts.size_bytes) == ("a.mp4", 3)
    assert abs(facts.modified_at - time.time()) < 60
    assert facts.etag
    assert facts.etag != (await store.facts("b.mp4")).etag


async def test_a_sweeper_sees_each_folder_apart_and_deletes_what_is_old(store: Store) -> None:
    assert await store.files() == []
    assert await store.writable()
    await store.write("a.mp4", b"1")
    await store.write("inputs/b.png", b"22")
    assert [(file.name, file.size_bytes) for file in await store.files()] == [("a.mp4", 1)]
    assert [(file.name, file.size_bytes) for file in await store.files("inputs")] == [("inputs/b.png", 2)]
    assert not await store.delete_old("a.mp4", age_s=3600)
    assert await store.delete_old("a.mp4", age_s=0)
    assert not await store.delete_old("a.mp4", age_s=0)
    assert await store.files() == []


async def test_a_name_that_is_none_is_refused(store: Store) -> None:
    for name in ("../a.png", "/etc/passwd", "a/b/c.png", ".tmp/a.png", "a", "a\0.png", "x" * 300 + ".png"):
        with pytest.raises(ValueError, match="not a file name"):
            await store.read(name)


async def test_an_object_store_that_does_not_answer_is_an_error_of_the_world(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contracts.bucket.RETRIES_MAX", 0)
    store = object_store.fresh(monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert not await store.writable()
    with pytest.raises(OSError, match="object store"):
        await store.read("a.mp4")


def test_another_kind_of_store_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ftp://host"):
        blobs.store("ftp://host")
    assert isinstance(blobs.store("videos/"), Folder)
