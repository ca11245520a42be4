"""The demo as a command: what it refuses before a stack starts, and how it takes its arguments and Ctrl-C."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.kit.machine import REPOSITORY
from tests.kit.process import completed, environment


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 200)).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("cut.jpg", picture(400, 400, "JPEG")[:-400], "the picture is a JPEG, but damaged"),
        ("boat.jpg", b"%PDF-1.7\n%", "the picture is a PDF; it may be PNG, JPEG"),
        ("empty.png", b"", "the picture is empty"),
        ("flat.png", picture(800, 20, "PNG"), "the picture is not taken: it is 800×20 pixels; sides may be 32 to 8192"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_before_anything_starts(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    answer = completed("-m", "ops.local.demo", str(tmp_path / name), within_s=30)
    assert answer.returncode == 1
    assert answer.stderr.startswith(said)
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""


def test_a_path_without_a_picture_is_said(tmp_path: Path) -> None:
    answer = completed("-m", "ops.local.demo", str(tmp_path / "none.png"), within_s=30)
    assert answer.returncode == 1
    assert answer.stderr == f"no picture can be read at {tmp_path / 'none.png'} (No such file or directory)\n"


@pytest.mark.parametrize(
    ("before", "awaited"),
    [
        ([], "msgspec"),  # among the imports
        (
            [sys.executable, "-IS", "ops/local/die_with_parent.py", "--hold-interrupts"],
            "import time",
        ),  # as the interpreter starts
    ],
)
def test_ctrl_c_at_the_very_start_ends_it_without_a_traceback(before: list[str], awaited: str) -> None:
    started = subprocess.Popen(
        [*before, sys.executable, "-X", "importtime", "-m", "ops.local.demo"],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        assert started.stderr is not None
        said = ""
        while awaited not in said:
            said = started.stderr.readline()
            assert said
        started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
    assert started.returncode == 128 + signal.SIGINT
    assert [line for line in rest.splitlines() if not line.startswith("import time:")] == []


@pytest.mark.parametrize(
    ("arguments", "code", "first_line"),
    [
        (["--help"], 0, 'usage: just demo [PICTURE] ["PROMPT"]'),
        (["the", "camera", "pans"], 2, 'a prompt stands in quotes: just demo "the camera pans"'),
        (["my boat.png"], 1, "no picture can be read at my boat.png (No such file or directory)"),
        (["", "pan"], 1, 'prompt was "pan"; it may be '),
    ],
)
def test_just_hands_the_arguments_on_as_they_were_typed(
    arguments: list[str], code: int, first_line: str, tmp_path: Path
) -> None:
    """The recipe is that of our justfile, less the set-up, which would install the project."""
    recipes = (REPOSITORY / "justfile").read_text().replace("picture_and_prompt: setup", "picture_and_prompt:")
    justfile = tmp_path / "justfile"
    justfile.write_text(recipes.replace('".venv/bin/python"', f'"{sys.executable}"'))
    answer = subprocess.run(
        [
            Path(sys.executable).parent / "just",
            "--justfile",
            justfile,
            "--working-directory",
            REPOSITORY,
            "demo",
            *arguments,
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == code
    assert (answer.stdout + answer.stderr).startswith(first_line)
