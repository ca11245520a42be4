import errno
from pathlib import Path

import pytest

from contracts import blobs
from contracts.blobs import Folder


async def test_the_first_whole_file_of_a_name_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert await folder.write("inputs/a.png", b"first")
    assert not await folder.write("inputs/a.png", b"second")
    assert await folder.read("inputs/a.png") == b"first"
    await folder.delete("inputs/a.png")
    await folder.delete("inputs/a.png")
    assert await folder.read("inputs/a.png") is None


async def test_a_draft_is_never_readable_under_its_name_and_never_left_behind(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.draft("a.mp4") as draft:
        draft.write_bytes(b"half")
        assert not folder.path("a.mp4").exists()
    assert not draft.exists()
    assert not folder.path("a.mp4").exists()


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "a/b/c.png", ".tmp/a.png", "a", "a\0.png", "x" * 300 + ".png"]
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a file name"):
        Folder(tmp_path).path(name)


def test_a_store_that_is_no_folder_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="s3://bucket"):
        blobs.folder("s3://bucket")


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert await folder.writable()
    (tmp_path / ".tmp").rmdir()
    (tmp_path / ".tmp").touch()
    assert not await folder.writable()


async def test_a_file_that_cannot_be_deleted_stays_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").mkdir()
    await Folder(tmp_path).delete("a.png")
    assert "file_not_deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, True), (errno.EROFS, True), (errno.EDQUOT, True), (errno.EIO, False)]
)
def test_a_store_without_room_is_told_from_a_broken_one(number: int, told: bool) -> None:
    assert blobs.no_room(OSError(number, "")) == told
