import errno
from pathlib import Path

import pytest

from contracts import blobs
from contracts.blobs import Folder


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert await folder.writable()
    assert await folder.writable(room_bytes=1)
    assert not await folder.writable(room_bytes=2**60)
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
