"""File-system calls of `folder`: link durably, open without following links, list, and delete by age. Blocking."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, unless its name is a symbolic link."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def regular_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files of a folder. A folder, or a file, that is gone by then is no error."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def delete_if_old(path: Path, before: float) -> bool:
    """Delete a file last written at or before a moment, and return whether it was deleted."""
    with suppress(FileNotFoundError):
        if path.stat().st_mtime <= before:
            path.unlink()
            return True
    return False


def link(draft: Path, final: Path) -> bool:
    """Make a draft the file of a name, durably. Return False if the name has a file already: that file stays."""
    final.parent.mkdir(exist_ok=True)
    _fsync(draft)
    try:
        os.link(draft, final)
    except FileExistsError:
        return False
    _fsync(final.parent)
    return True


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
