"""Folders of the repository that local commands read and write, and how a path is shown to the user."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RUNTIME = REPOSITORY / ".wanjet"
"""Holds what local runs leave: logs, the broker's disk, sockets. Git ignores it."""


KEYS = "keys"
"""The folder of a stack's keys, in the folder of the stack."""


def folder_of_up() -> Path:
    """Return the folder of `just up`: `WANJET_FOLDER`, or its place in the repository."""
    return Path(os.environ.get("WANJET_FOLDER") or RUNTIME / "up").resolve()


def keys_of_up() -> Path:
    """Return the folder in which `just up` keeps a key for each user of its broker."""
    return folder_of_up() / KEYS


def short(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below that, else unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
