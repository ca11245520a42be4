"""The promises of the `Store` protocol, kept by a folder and by an object store alike."""

import asyncio
import time
from pathlib import Path

import obstore
import pytest

from contracts.stores import Folder, Store, last_check, open_store
from contracts.stores.s3 import Bucket
from contracts.stores.store import PROBE_PREFIX
from tests.kit.object_store import ObjectStore, object_store

__all__ = ["object_store"]

DAY_S = 86_400.0


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
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


async def test_a_piece_is_as_much_of_a_part_as_there_is_with_the_facts_of_its_file(store: Store) -> None:
    await store.write("a.mp4", b"0123456789")
    facts = await store.facts("a.mp4")
    for part, expected in ((range(2, 5), b"234"), (range(8, 99), b"89"), (range(10, 20), b"")):
        assert await store.piece("a.mp4", part) == (facts, expected)
    with pytest.raises(FileNotFoundError):
        await store.piece("b.mp4", range(1))


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
    assert await store.trouble() is None
    assert await store.files() == []
    await store.write("a.mp4", b"1")
    await store.write("inputs/b.png", b"22")
    assert [(file.name, file.size_bytes) for file in await store.files()] == [("a.mp4", 1)]
    assert [(file.name, file.size_bytes) for file in await store.files("inputs")] == [("inputs/b.png", 2)]
    now = await store.now()
    assert not await store.delete_old("a.mp4", before=now - 3600)
    assert await store.delete_old("a.mp4", before=now)
    assert not await store.delete_old("a.mp4", before=now)
    assert await store.files() == []


async def test_the_clock_of_a_store_is_the_one_that_its_files_times_come_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that asks may be a day off."""
    monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9 + DAY_S)
    await store.write("a.mp4", b"1")
    written = (await store.facts("a.mp4")).modified_at
    assert written - 2 <= await store.now() <= written + 60
    await store.write("b.mp4", b"1")
    assert (await store.facts("b.mp4")).modified_at >= written
    assert not await store.delete_old("a.mp4", before=await store.now() - 3600)
    assert [file.name for file in await store.files()] == ["a.mp4", "b.mp4"]


async def test_many_checks_of_one_store_leave_nothing_and_see_nothing_of_each_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_check, "CHECK_AGAIN_S", 0)
    found = await asyncio.gather(*(store.trouble() for _ in range(10)), *(store.now() for _ in range(5)))
    assert found[:10] == [None] * 10
    assert await store.files() == []
    assert await store.delete_old_drafts(before=await store.now() + 60) == 0


async def test_a_name_that_is_none_is_refused(store: Store) -> None:
    for name in ("../a.png", "/etc/passwd", "a/b/c.png", ".tmp/a.png", "a", "a\0.png", "x" * 300 + ".png"):
        with pytest.raises(ValueError, match="not a file name"):
            await store.read(name)


async def test_an_object_store_that_does_not_answer_is_an_error_of_the_world(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contracts.stores.s3.RETRIES_MAX", 0)
    store = object_store.fresh(monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    found = await store.trouble()
    assert found is not None
    assert not found.lasting
    assert "127.0.0.1" not in str(found)
    with pytest.raises(OSError, match="object store"):
        await store.read("a.mp4")


async def test_an_object_store_that_is_silent_is_waited_for_only_so_long(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    monkeypatch.setattr("contracts.stores.s3.CHECK_WITHIN_S", 0.2)
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = object_store.fresh(monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
        found = await store.trouble()
        over.set()
    assert found is not None
    assert (found.name, found.lasting) == ("TimeoutError", False)


async def test_a_bucket_that_is_not_there_is_named_and_lasting(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.fresh(monkeypatch)
    found = await open_store("s3://no-such-bucket/videos", setting="VIDEO_STORE_URL").trouble()
    assert found is not None
    assert found.lasting
    assert str(found).startswith("VIDEO_STORE_URL: s3://no-such-bucket/videos cannot be written to: object store: ")


async def test_a_probe_that_was_left_in_a_bucket_is_no_file_and_is_swept_away(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = object_store.fresh(monkeypatch)
    assert isinstance(store, Bucket)
    for name in (f"{PROBE_PREFIX}1", "probe.bin"):
        await obstore.put_async(store._store, name, b"1")
    assert await store.files() == []
    now = await store.now()
    assert await store.delete_old_drafts(before=now - 3600) == 0
    assert await store.delete_old_drafts(before=now) == 2


def test_another_kind_of_store_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ftp://host"):
        open_store("ftp://host")
    assert isinstance(open_store("videos/"), Folder)
