import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from litestar.response import Stream
from msgspec.structs import replace

from contracts import wire
from contracts.job import video_name
from contracts.record import Record, record_name
from contracts.stores import Folder
from contracts.video_files import VARIANTS, Variant, picture_name
from services.edge.errors import Damaged, NoSuchPart
from services.edge.videos import Videos
from tests.kit.builders import ID, succeeded
from tests.kit.waiting import eventually

SIZE = 1000
CONTENT = bytes(n % 251 for n in range(SIZE))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / video_name(ID)
    path.write_bytes(CONTENT)
    return path


async def answer(file: Path, **headers: str) -> tuple[int, str | None, bytes]:
    """Status, Content-Range and body of a GET with these headers."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await Videos(Folder(file.parent)).answer(ID, method="GET", headers=names)
    body = b""
    if isinstance(response, Stream):
        assert isinstance(response.iterator, AsyncIterator)
        async for chunk in response.iterator:
            assert isinstance(chunk, bytes)
            body += chunk
    return response.status_code or 200, response.headers.get("Content-Range"), body


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=900-", 900, 999),
        ("bytes=900-5000", 900, 999),
        ("bytes=-5", 995, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=0-", 0, 999),
        ("Bytes=100-199", 100, 199),  # names of units are in any case (RFC 9110, 14.1)
    ],
)
async def test_one_range_is_those_bytes(file: Path, asked: str, first: int, last: int) -> None:
    status, told, body = await answer(file, range=asked)
    assert body == CONTENT[first : last + 1]
    assert (status, told) == (206, f"bytes {first}-{last}/{SIZE}")  # also of all bytes: Safari asks so, and insists


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(file: Path, asked: str) -> None:
    with pytest.raises(NoSuchPart) as refused:
        await answer(file, range=asked)
    assert refused.value.headers["Content-Range"] == f"bytes */{SIZE}"
    assert "ETag" in refused.value.headers


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=-",
        "BYTES=-",
        "bytes=٠-١",
        "bytes=5-2",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=a-b",
        "bytes=" + "9" * 40 + "-",
    ],
)
async def test_a_malformed_range_and_several_at_once_are_the_whole_file(file: Path, asked: str) -> None:
    assert await answer(file, range=asked) == (200, None, CONTENT)


async def test_an_etag_saves_the_body_and_guards_a_range(file: Path) -> None:
    etag = (await Videos(Folder(file.parent)).answer(ID, method="HEAD", headers={})).headers["ETag"]
    assert (await answer(file, if_none_match=etag))[0] == 304
    assert (await answer(file, if_none_match=f'"other", W/{etag}'))[0] == 304
    assert (await answer(file, if_none_match='"other"'))[0] == 200
    assert (await answer(file, range="bytes=0-1", if_range=etag))[0] == 206
    assert (await answer(file, range="bytes=0-1", if_range='"other"'))[0] == 200


def overwrite(file: Path, content: bytes) -> None:
    file.write_bytes(content)


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT + b"x", CONTENT[:500] + b"!" + CONTENT[501:]])
async def test_a_file_that_is_not_the_one_that_was_made_is_not_served(file: Path, damaged: bytes) -> None:
    videos = Videos(Folder(file.parent))
    ending = replace(succeeded(1, 2.0), size_bytes=SIZE, sha256=hashlib.sha256(CONTENT).hexdigest())
    (file.parent / record_name(ending)).write_bytes(wire.encode_record(Record(submitted=None, ending=ending)))
    for _ in range(2):
        assert (await videos.answer(ID, method="GET", headers={})).status_code == 200
    overwrite(file, damaged)
    for method in ("GET", "HEAD", "GET"):
        with pytest.raises(Damaged):
            await videos.answer(ID, method=method, headers={})
    overwrite(file, CONTENT)
    assert (await videos.answer(ID, method="GET", headers={})).status_code == 200


async def test_a_record_that_is_damaged_keeps_no_video_back(file: Path) -> None:
    ending = replace(succeeded(1, 2.0), size_bytes=SIZE, sha256=hashlib.sha256(CONTENT).hexdigest())
    record = wire.encode_record(Record(submitted=None, ending=ending))
    (file.parent / record_name(ending)).write_bytes(record.replace(ending.sha256[:2].encode(), b"xx", 1))
    assert (await Videos(Folder(file.parent)).answer(ID, method="GET", headers={})).status_code == 200


class Counting(Folder):
    """A folder that counts how often a whole file is read, and reads only when the test lets it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hashed = 0
        self.go = asyncio.Event()

    async def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        self.hashed += 1
        await self.go.wait()
        async for piece in super().stream(name, part):
            yield piece


def made(file: Path) -> None:
    """Write the record of the video in this file."""
    ending = replace(succeeded(1, 2.0), size_bytes=SIZE, sha256=hashlib.sha256(CONTENT).hexdigest())
    (file.parent / record_name(ending)).write_bytes(wire.encode_record(Record(submitted=None, ending=ending)))


@pytest.mark.parametrize("leaves", [None, 0, 7])
async def test_all_first_readers_of_a_video_wait_for_one_check_whoever_leaves(file: Path, leaves: int | None) -> None:
    made(file)
    store = Counting(file.parent)
    videos = Videos(store)
    asking = [asyncio.create_task(videos.answer(ID, method="HEAD", headers={})) for _ in range(8)]
    await eventually(lambda: store.hashed)
    if leaves is not None:
        asking[leaves].cancel()
        await asyncio.wait([asking[leaves]])
    store.go.set()
    answers = await asyncio.gather(*(task for task in asking if not task.cancelled()))
    assert [answer.status_code for answer in answers] == [200] * (8 if leaves is None else 7)
    assert store.hashed == 1


async def test_all_first_readers_of_a_damaged_video_learn_so_by_one_check(file: Path) -> None:
    made(file)
    overwrite(file, CONTENT[:500] + b"!" + CONTENT[501:])
    store = Counting(file.parent)
    videos = Videos(store)
    asking = [asyncio.create_task(videos.answer(ID, method="HEAD", headers={})) for _ in range(8)]
    await eventually(lambda: store.hashed)
    store.go.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in told] == [Damaged] * 8
    assert store.hashed == 1
    overwrite(file, CONTENT)
    assert (await videos.answer(ID, method="HEAD", headers={})).status_code == 200


@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_picture_is_answered_as_a_whole_webp_or_not_at_all_if_it_is_known(
    tmp_path: Path, variant: Variant
) -> None:
    (tmp_path / picture_name(ID, variant)).write_bytes(CONTENT)
    videos = Videos(Folder(tmp_path))
    whole = await videos.picture_answer(ID, variant, method="GET", headers={"range": "bytes=0-9"})
    assert isinstance(whole, Stream)
    assert isinstance(whole.iterator, AsyncIterator)
    assert b"".join([chunk async for chunk in whole.iterator]) == CONTENT  # pyright: ignore[reportArgumentType]
    assert (whole.status_code, whole.media_type) == (200, "image/webp")
    assert whole.headers["Content-Length"] == str(SIZE)
    head = await videos.picture_answer(ID, variant, method="HEAD", headers={})
    assert isinstance(head, Stream)
    assert not isinstance(head.iterator, AsyncIterator)
    assert head.headers == whole.headers
    known = await videos.picture_answer(ID, variant, method="GET", headers={"if-none-match": whole.headers["ETag"]})
    assert known.status_code == 304


async def test_a_picture_that_was_never_made_is_no_file(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Videos(Folder(file.parent)).picture_answer(ID, "thumbnail", method="GET", headers={})
