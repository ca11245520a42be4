"""The check of the two stores by which a process starts or refuses to."""

import errno
import threading
from pathlib import Path

import pytest

from contracts.process.env import BadSetting
from contracts.stores import Folder, configured, posix


def test_a_start_ends_with_the_variable_the_path_and_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match=rf"^VIDEO_STORE_URL: {tmp_path}/file/videos cannot be written to: ENOTDIR, "):
        configured.check(f"{tmp_path}/file/videos", f"{tmp_path}/scratch")
    with pytest.raises(BadSetting, match=rf"^SCRATCH_STORE_URL: {tmp_path}/file/scratch cannot be written to: ENOTDIR"):
        configured.check(f"{tmp_path}/videos", f"{tmp_path}/file/scratch")
    assert capsys.readouterr().out.count("store_unusable") == 2
    with pytest.raises(BadSetting, match=r"^VIDEO_STORE_URL: a store is a folder"):
        configured.check("ftp://host", f"{tmp_path}/scratch")


def test_a_start_is_not_held_up_by_a_store_that_may_come_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(posix, "_fsync", full)
    configured.check(f"{tmp_path}/videos", f"{tmp_path}/scratch")
    assert capsys.readouterr().out.count("store_unusable") == 2


def test_a_start_waits_only_so_long_for_a_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(posix, "_fsync", lambda _path: go_on.wait(30))
    monkeypatch.setattr(configured, "CHECK_WITHIN_S", 0.05)
    configured.check(f"{tmp_path}/videos", f"{tmp_path}/scratch")
    go_on.set()
    assert capsys.readouterr().out.count("store_unanswered") == 2


def test_a_check_that_fails_itself_is_said_at_once_as_the_trouble_of_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_store: Folder) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Folder, "trouble", broken)
    found = list(configured.troubles(f"{tmp_path}/videos", f"{tmp_path}/scratch"))
    assert [str(trouble) for trouble in found] == [
        f"{setting}: {tmp_path}/{folder} cannot be checked: RuntimeError: can't start new thread"
        for setting, folder in (("VIDEO_STORE_URL", "videos"), ("SCRATCH_STORE_URL", "scratch"))
    ]
    assert not any(trouble.lasting for trouble in found)
    out = capsys.readouterr().out
    assert (out.count("store_unusable"), out.count("store_unanswered")) == (2, 0)
