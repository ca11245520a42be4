"""Recognises files that are not what their name says, by their first bytes, and words the mistake for the user.

Most checkpoints that cannot be opened are failed downloads: git-lfs pointers, error pages of a hub or a store, empty
files, links into a cache that was cleaned. Called by the readers of this package before a file is parsed.
"""

from pathlib import Path

HEAD_BYTES = 512

GIT_LFS = b"version https://git-lfs.github.com/spec/"
NAMES = {
    GIT_LFS: "a git-lfs pointer, in place of which `git lfs pull` puts the file",
    b"<!doctype html": "an HTML page, as a refused download leaves",
    b"<html": "an HTML page, as a refused download leaves",
    b"<?xml": "an XML document, as a refused download leaves",
    b"gguf": "a GGUF file, which this loader does not read",
}
"""Descriptions by the first bytes of the content, in lower case, after leading white space."""


def mistaken(file: Path) -> str | None:
    """Return a description of the content if it is a known mistake or cannot be read; otherwise None.

    For a path that does not exist the description is `none`.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            head = content.read(HEAD_BYTES)
    except FileNotFoundError:
        return f"a link to {file.readlink()}, which is not there" if file.is_symlink() else "none"
    except IsADirectoryError:
        return "a folder"
    except OSError as error:
        return f"one that cannot be opened ({error.strerror})"
    if size == 0:
        return "an empty file"
    if not head.strip(b"\0"):
        return "zeros, as a download that was broken off leaves"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((name for beginning, name in NAMES.items() if start.startswith(beginning)), None)
