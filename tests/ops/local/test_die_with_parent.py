"""A command that is tied to its parent does not begin once the parent is dead."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.local.die_with_parent import PARENT
from tests.kit.process import completed

TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"


@pytest.mark.parametrize("how", [["-m", "ops.local.die_with_parent"], ["-m", "ops.local.json_lines", "x", "LOG"]])
def test_a_command_does_not_begin_if_its_parent_died_before_it_was_tied(how: list[str], tmp_path: Path) -> None:
    """The kernel has given the process another parent by then, so that only the pid of the first one tells."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    words = [str(tmp_path / "log") if word == "LOG" else word for word in how]
    command = [*words, sys.executable, "-c", TOUCH, str(tmp_path / "begun")]
    done = completed(*command, within_s=30, **{PARENT: str(dead.pid)})
    assert (done.returncode, done.stderr) == (1, "the parent is gone\n")
    assert not (tmp_path / "begun").exists()


def test_the_pid_of_the_parent_is_not_passed_on_to_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import os, sys; sys.exit({PARENT!r} in os.environ)"]
    script = (
        "import os, subprocess, sys\n"
        f"done = subprocess.run([sys.executable, '-m', 'ops.local.die_with_parent', *{command!r}],\n"
        f"    env={{**os.environ, {PARENT!r}: str(os.getpid())}})\n"
        "sys.exit(done.returncode)"
    )
    assert completed("-c", script, within_s=30).returncode == 0
