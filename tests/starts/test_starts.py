"""A few of the starts that cannot succeed, and two that look so; `python -m tests.starts.run` tries them all."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from ops.local.http import ask
from ops.local.stack import on_free_ports
from tests.kit.machine import REPOSITORY
from tests.starts.run import GIVE_UP_S, SERVES, main, started

PACKAGES = ("contracts", "services", "inference", "ops")
ODD = """it's "50% off"; $HOME 猫 мир"""


@pytest.mark.parametrize("name", ["taken port", "wrong broker address", "no rights", "too old", "read-only"])
def test_a_start_that_cannot_succeed_ends_with_its_sentence(name: str) -> None:
    told: list[str] = []
    assert main([name], told.append) == 0, told


def test_a_host_whose_name_resolves_to_nothing_serves() -> None:
    told: list[str] = []
    assert main(["a host whose name resolves to nothing"], told.append) == 0, told
    assert SERVES in told[-1]


@pytest.fixture
def odd_repository(tmp_path: Path) -> Path:
    """A repository, with its virtual environment, at a path of blanks, quotes, percent signs and other scripts."""
    place = tmp_path / ODD
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package,
            place / package,
            copy_function=os.symlink,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (place / ".venv").symlink_to(sys.prefix)
    return place


def test_a_repository_may_lie_at_any_path(odd_repository: Path) -> None:
    ports = on_free_ports(odd_repository)
    variables = {
        "NATS_LISTEN": ports.nats_listen,
        "NATS_MONITOR": ports.nats_monitor,
        "SERVER_PORT": str(ports.server_port),
        "METRICS_PORT": "0",
        "RANKS": "1",
        "READY_WITHIN": str(GIVE_UP_S - 20),
    }
    command = [str(odd_repository / ".venv" / "bin" / "python"), "-m", "ops.local.up"]
    with started(command, variables, odd_repository) as up:
        assert up.stdout is not None
        printed: list[str] = []
        for line in up.stdout:
            printed.append(line)
            if SERVES in line:
                break
        assert printed and SERVES in printed[-1], "".join(printed)
        assert ask(f"{ports.url}/readyz")[0] == 200
        assert (odd_repository / ".wanjet" / "up" / "logs" / "edge.log").exists()
        assert (odd_repository / "generated_videos").is_dir()
    assert up.returncode == 0
    assert not (odd_repository / ".wanjet" / "up" / "supervisord.pid").exists()
