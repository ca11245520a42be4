import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from contracts.stores import Folder, Trouble, last_check, no_room, posix
from contracts.stores.store import PROBE_PREFIX

ROOM_BYTES_MAX = 2**60


async def trouble_of(folder: Folder) -> Trouble:
    found = await folder.trouble()
    assert found is not None
    return found


def entries(folder: Path) -> set[str]:
    """Return the relative paths of all entries in a folder and below."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


async def test_a_folder_that_takes_files_has_no_trouble_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "store", folders=("", "jobs"))
    assert await folder.trouble() is None
    assert await folder.trouble(room_bytes=1) is None
    assert entries(tmp_path / "store") == {".tmp", "jobs"}


async def test_a_folder_with_too_little_room_says_how_much_there_is(tmp_path: Path) -> None:
    found = await Folder(tmp_path, setting="VIDEO_STORE_URL").trouble(ROOM_BYTES_MAX)
    assert found is not None
    assert found.plain == "VIDEO_STORE_URL is full (ENOSPC)"
    assert str(tmp_path) in str(found) and f"{ROOM_BYTES_MAX} are wanted" in str(found)
    assert not found.lasting


@pytest.mark.parametrize("place", [".tmp", "jobs", ""])
async def test_a_file_where_a_folder_should_be_is_named_and_lasting(tmp_path: Path, place: str) -> None:
    root = tmp_path / "store"
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).touch()
    found = await trouble_of(Folder(root, setting="VIDEO_STORE_URL", folders=("", "jobs")))
    assert found.lasting
    assert found.name in ("EEXIST", "ENOTDIR")
    assert found.plain == f"VIDEO_STORE_URL cannot be written to ({found.name})"
    assert str(root) not in found.plain
    assert str(root / place) in str(found)


async def test_a_path_that_cannot_be_made_is_named_and_lasting() -> None:
    found = await trouble_of(Folder(Path("/proc/nope"), setting="SCRATCH_STORE_URL"))
    assert (found.name, found.lasting) == ("ENOENT", True)
    assert str(found).startswith("SCRATCH_STORE_URL: /proc/nope cannot be written to: ENOENT, ")


@pytest.fixture
def immutable(tmp_path: Path) -> Generator[Path, None, None]:
    """A folder in which nothing can be made, not even by root, though its `.tmp` takes drafts."""
    (tmp_path / "store" / ".tmp").mkdir(parents=True)
    done = subprocess.run(["chattr", "+i", tmp_path / "store"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"NOT RUN: nobody can make a folder immutable here: {done.stderr.decode().strip()}")
    yield tmp_path / "store"
    subprocess.run(["chattr", "-i", tmp_path / "store"], check=True)


async def test_a_folder_whose_drafts_alone_can_be_written_is_found_out(immutable: Path) -> None:
    found = await trouble_of(Folder(immutable))
    assert (found.name, found.lasting) == ("EPERM", True)
    assert found.what == "takes no hard links, or may not be written to"
    assert entries(immutable) == {".tmp"}


def fails(number: int, *, linking: bool) -> Callable[..., None]:
    def fail(path: Path, to: Path | None = None) -> None:
        raise OSError(number, os.strerror(number), str(path), None, str(to) if linking else None)

    return fail


@pytest.mark.parametrize(
    ("number", "plain", "lasting"),
    [
        (errno.ENOSPC, "S is full (ENOSPC)", False),
        (errno.EDQUOT, "S is full (EDQUOT)", False),
        (errno.EROFS, "S is read-only (EROFS)", False),
        (errno.EIO, "S cannot be written to (EIO)", False),
        (errno.ESTALE, "S cannot be written to (ESTALE)", False),
        (errno.EMFILE, "S cannot be checked: this process is out of file descriptors (EMFILE)", False),
        (errno.ENFILE, "S cannot be checked: this process is out of file descriptors (ENFILE)", False),
        (errno.EACCES, "S cannot be written to (EACCES)", True),
        (errno.EPERM, "S cannot be written to (EPERM)", True),
    ],
)
async def test_each_error_is_called_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, plain: str, *, lasting: bool
) -> None:
    monkeypatch.setattr(posix, "_fsync", fails(number, linking=False))
    found = await trouble_of(Folder(tmp_path, setting="S"))
    assert (found.plain, found.lasting) == (plain, lasting)
    assert entries(tmp_path) == {".tmp"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV])
async def test_a_link_that_is_refused_is_told_from_a_file_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(posix.os, "link", fails(number, linking=True))
    found = await trouble_of(Folder(tmp_path, setting="S"))
    assert found.what == "takes no hard links, or may not be written to"
    assert found.lasting
    assert entries(tmp_path) == {".tmp"}


async def test_many_checks_at_once_disturb_neither_each_other_nor_a_list(tmp_path: Path) -> None:
    folders = [Folder(tmp_path) for _ in range(20)]
    seen: list[str] = []

    async def look() -> None:
        for _ in range(20):
            seen.extend(file.name for file in await folders[0].files())

    found = await asyncio.gather(*(folder.trouble() for folder in folders), look())
    assert set(found) == {None}
    assert seen == []
    assert entries(tmp_path) == {".tmp"}


async def test_that_all_is_well_holds_for_a_moment_and_changes_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path, setting="VIDEO_STORE_URL")
    monkeypatch.setattr(last_check, "CHECK_AGAIN_S", 3600)
    assert await folder.trouble() is None
    (tmp_path / ".tmp").rmdir()
    (tmp_path / ".tmp").touch()
    assert await folder.trouble() is None
    folder = Folder(tmp_path, setting="VIDEO_STORE_URL")
    for _ in range(3):
        assert await folder.trouble() is not None
    told = capsys.readouterr().out
    assert told.count("store_unusable") == 1
    assert "VIDEO_STORE_URL" in told and str(tmp_path) in told
    (tmp_path / ".tmp").unlink()
    for _ in range(3):
        assert await folder.trouble() is None
    assert capsys.readouterr().out.count("store_usable_again") == 1


async def test_who_asks_while_a_check_runs_shares_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes half a minute to fail does not take half a minute for each in turn."""
    checks = 0

    def fail(_path: Path) -> None:
        nonlocal checks
        checks += 1
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(posix, "_fsync", fail)
    folder = Folder(tmp_path)
    found = await asyncio.gather(*(folder.trouble() for _ in range(50)))
    assert {trouble.name for trouble in found if trouble is not None} == {"ETIMEDOUT"}
    assert (len(found), checks) == (50, 1)
    assert await folder.trouble() is not None
    assert checks == 2


async def test_a_probe_that_a_killed_process_has_left_is_no_file_and_is_swept_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path, folders=("", "jobs"))
    (tmp_path / "jobs").mkdir()
    left = [tmp_path / f"{PROBE_PREFIX}1", tmp_path / "jobs" / f"{PROBE_PREFIX}2"]
    for path in left:
        path.touch()
        os.utime(path, (1, 1))
    assert await folder.files() == await folder.files("jobs") == []
    assert await folder.delete_old_drafts(before=2) == 2
    assert not any(path.exists() for path in left)


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
    assert no_room(OSError(number, "")) == told
