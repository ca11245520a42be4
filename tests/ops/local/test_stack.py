"""The processes of a stack get an environment in which they find each other."""

import os
import subprocess
from pathlib import Path

import pytest

from ops.local import up
from ops.local.stack import Stack, on_free_ports
from ops.local.supervisor import make_keys
from tests.kit.machine import NATS_SERVER
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
    stack = Stack(folder=tmp_path / name, nats_listen=listen)
    make_keys(stack)
    variables = stack.environment()
    checked = subprocess.run(
        [NATS_SERVER, "-t", "-c", str(stack.keys / "broker" / "nats-server.conf")],
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


def test_the_events_of_all_jobs_are_shown_where_nobody_but_this_machine_gets_or_whoever_says_so(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOW_ALL_JOBS", raising=False)
    assert stack.environment()["SHOW_ALL_JOBS"] == "1"
    open_to_all = Stack(folder=stack.folder, server_host="0.0.0.0")
    assert open_to_all.environment()["SHOW_ALL_JOBS"] == "0"
    monkeypatch.setenv("SHOW_ALL_JOBS", "1")
    assert open_to_all.environment()["SHOW_ALL_JOBS"] == "1"


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


def test_each_process_has_a_port_for_its_numbers_or_none_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOK_SECRET", raising=False)
    stack = Stack(folder=tmp_path, metrics_port=9480)
    ports = {"edge": 9480, "state": 9481, "inference": 9482}
    assert stack.metrics_ports == ports
    with_webhooks = Stack(folder=tmp_path, metrics_port=9480, extra={"WEBHOOK_SECRET": "whsec_"})
    assert with_webhooks.metrics_ports == {**ports, "webhooks": 9483}
    given = with_webhooks.environment()
    names = ("EDGE", "STATE", "INFERENCE", "WEBHOOKS")
    assert [given[f"WANJET_METRICS_{name}"] for name in names] == ["9480", "9481", "9482", "9483"]
    assert given["METRICS_HOST"] == "127.0.0.1", "where the edge listens"
    assert set(Stack(folder=tmp_path).metrics_ports.values()) == {0}


def test_ports_of_numbers_may_not_be_those_of_others() -> None:
    assert up.Settings().contradictions() == []
    (sentence,) = up.Settings(server_port=9481).contradictions()
    assert (
        sentence == "METRICS_PORT of state has port 9481, which SERVER_PORT has too; each must have a port of its own"
    )
    assert up.Settings(server_port=9481, metrics_port=0).contradictions() == []
