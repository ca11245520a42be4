"""Atomic file writes for the training's state folder."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path, then rename it to `file`: the file appears, or is replaced, atomically.

    Makes the folder. Nothing is left if `write` raises.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
