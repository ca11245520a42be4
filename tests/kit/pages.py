"""The Markdown pages of this repository and their example blocks, for the tests of pages and examples."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.kit.machine import REPOSITORY


class Block(NamedTuple):
    """An example block of a page: its language (empty for a drawing) and its lines."""

    language: str
    text: str


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the repository that match, new ones included, ignored and deleted ones not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.splitlines() if (path := REPOSITORY / name).is_file()]


def pages() -> list[Path]:
    """Return every page that is written for people."""
    return tracked("*.md")


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)]


def example(page: str, beginning: str) -> str:
    """Return the one block of a page that holds these words."""
    (found,) = [block.text for block in blocks(REPOSITORY / page) if beginning in block.text]
    return found
