"""The processes of a stack get an environment in which they find each other."""

import os
import subprocess
from pathlib import Path

import pytest

from ops.local.stack import Stack, on_free_ports
from tests.kit.machine import NATS_SERVER, REPOSITORY
from tests.ops.local.odd_names import ODD


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return on_free_ports(tmp_path / "a folder", video_store_url=str(tmp_path), scratch_store_url=str(tmp_path))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("listen", ["127.0.0.1:4222", "[::1]:4222"])
def test_the_broker_reads_its_configuration_whatever_the_folder_and_the_family(
    name: str, listen: str, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    variables = Stack(folder=tmp_path / name, nats_listen=listen).environment()
    checked = subprocess.run(
        [NATS_SERVER, "-t", "-c", str(REPOSITORY / "ops" / "nats" / "nats-server.conf")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_cores_are_shared_out_among_the_ranks(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.local.stack._cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Stack(folder=stack.folder, ranks=2).environment()["OMP_NUM_THREADS"] == "4"
    assert Stack(folder=stack.folder, ranks=16).environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Stack(folder=stack.folder, ranks=2).environment()["OMP_NUM_THREADS"] == "3"


def test_the_processes_find_each_other(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    open_to_all = Stack(folder=stack.folder, nats_listen="0.0.0.0:1222", server_host="0.0.0.0", server_port=1088)
    assert open_to_all.environment()["NATS_URL"] == "nats://127.0.0.1:1222"
    assert open_to_all.url == "http://127.0.0.1:1088"


def test_what_is_extra_has_the_last_word(stack: Stack) -> None:
    assert Stack(folder=stack.folder, extra={"RANKS": "7", "TASK_TIMEOUT": "9"}).environment()["RANKS"] == "7"


def test_a_folder_too_deep_for_a_socket_has_it_elsewhere(tmp_path: Path) -> None:
    deep = Stack(folder=tmp_path / ("d" * 100))
    assert len(os.fsencode(deep.socket)) < 100
    assert deep.socket != Stack(folder=tmp_path / ("e" * 100)).socket


def test_a_stack_may_listen_on_either_family(tmp_path: Path) -> None:
    stack = Stack(
        folder=tmp_path, nats_listen="[::1]:1222", nats_monitor="[::]:1822", server_host="::", server_port=1088
    )
    assert (stack.nats_url, stack.monitor_url, stack.url) == (
        "nats://[::1]:1222",
        "http://[::1]:1822",
        "http://[::1]:1088",
    )
