"""Folders of the repository that local commands read and write, and how a path is shown to the user."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RUNTIME = REPOSITORY / ".wanjet"
"""Holds what local runs leave: logs, the broker's disk, sockets. Git ignores it."""


def short(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below that, else unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
