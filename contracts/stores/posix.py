"""File-system calls of `folder`: link durably, open without following links, read, list, and delete by age. Blocking.

Each raises `OSError` as the file system gives it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `FileNotFoundError`, or `OSError` (ELOOP) if its name is a symbolic link."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def opened_at(path: Path, part: range, *, bytes_max: int) -> tuple[BinaryIO, bytes]:
    """Open a file as `open_regular` does, and return it with the first bytes of a part, `bytes_max` at most."""
    file = open_regular(path)
    try:
        file.seek(part.start)
        return file, file.read(min(bytes_max, len(part)))
    except BaseException:
        file.close()
        raise


def part_of(path: Path, part: range) -> bytes:
    """Return the bytes at the offsets of a part that the file has. Raises as `open_regular` does."""
    file, data = opened_at(path, part, bytes_max=len(part))
    file.close()
    return data


def regular_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files of a folder itself, no links, in any order. A folder or file that is gone is no error."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def delete_if_old(path: Path, before: float) -> bool:
    """Delete a file last written at or before a moment in Unix seconds, and return whether it was deleted.

    False also if there is no such file.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_mtime <= before:
            path.unlink()
            return True
    return False


def link(draft: Path, final: Path) -> bool:
    """Make a draft the file of a name, durably. Return False if the name has a file already: that file stays.

    The draft stays too, as a second name of the same file. Makes the folder of the name, but not that folder's parent.
    """
    final.parent.mkdir(exist_ok=True)
    _fsync(draft)
    try:
        os.link(draft, final)
    except FileExistsError:
        return False
    _fsync(final.parent)
    return True


def _fsync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
