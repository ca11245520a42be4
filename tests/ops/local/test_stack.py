import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.options import ServerOptions

from contracts.process.start import EX_CONFIG
from ops.local.stack import CONF, STOP_WITHIN_S, CannotStart, Stack, check_ports, on_free_ports, running
from ops.local.supervisor_client import processes
from tests.kit.machine import NATS_SERVER, REPOSITORY
from tests.kit.waiting import eventually

TORCHRUN_KILLS_AFTER_S = 30


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return on_free_ports(tmp_path / "a folder", video_store_url=str(tmp_path), scratch_store_url=str(tmp_path))


ODD = ["ünï 猫", "50% off", """it's a "quoted" $x""", "back\\slash"]


@pytest.fixture
def conf(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    """Our configuration as supervisord itself reads it."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    (stack.folder / "logs").mkdir(parents=True)
    options = ServerOptions()
    options.realize(["-c", str(CONF)])
    return options


@pytest.fixture
def taken_port() -> Generator[int, None, None]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_edge_stops_first_then_inference_then_state_then_the_broker(conf: ServerOptions) -> None:
    stopping = [group.name for group in sorted(conf.process_group_configs, reverse=True)]
    assert stopping == ["edge", "inference", "state", "provision", "broker"]


def test_every_process_has_its_time_to_stop(conf: ServerOptions) -> None:
    allowed_s = {group.name: group.process_configs[0].stopwaitsecs for group in conf.process_group_configs}
    assert allowed_s["inference"] > TORCHRUN_KILLS_AFTER_S
    assert sum(allowed_s.values()) < STOP_WITHIN_S


def test_every_process_has_a_log_of_its_own(conf: ServerOptions, stack: Stack) -> None:
    for group in conf.process_group_configs:
        assert group.process_configs[0].stdout_logfile == str(stack.log(group.name))


@pytest.mark.parametrize("name", ODD)
def test_a_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = on_free_ports(tmp_path / name)
    program = tmp_path / name / "nats-server"
    monkeypatch.setenv("NATS_SERVER_BIN", str(program))
    for variable, value in stack.environment().items():
        monkeypatch.setenv(variable, value)
    (stack.folder / "logs").mkdir(parents=True)
    options = ServerOptions()
    options.realize(["-c", str(CONF)])
    for group in options.process_group_configs:
        assert group.process_configs[0].stdout_logfile == str(stack.log(group.name))
        command = shlex.split(group.process_configs[0].command)
        assert command[0] == sys.executable
        assert (str(program) in command) is (group.name == "broker")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("listen", ["127.0.0.1:4222", "[::1]:4222"])
def test_the_broker_reads_its_configuration_whatever_the_folder_and_the_family(
    name: str, listen: str, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    variables = Stack(folder=tmp_path / name, nats_listen=listen).environment()
    checked = subprocess.run(
        [NATS_SERVER, "-t", "-c", str(CONF.parents[1] / "nats" / "nats-server.conf")],
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


@pytest.mark.parametrize("variable", ["SERVER_PORT", "NATS_LISTEN", "NATS_MONITOR"])
def test_a_port_in_use_is_said_with_its_variable(variable: str, taken_port: int, tmp_path: Path) -> None:
    free = on_free_ports(tmp_path)
    address = f"127.0.0.1:{taken_port}"
    stack = Stack(
        folder=tmp_path,
        server_port=taken_port if variable == "SERVER_PORT" else free.server_port,
        nats_listen=address if variable == "NATS_LISTEN" else free.nats_listen,
        nats_monitor=address if variable == "NATS_MONITOR" else free.nats_monitor,
    )
    with pytest.raises(CannotStart, match=rf"cannot listen on {address} \(Address already in use\); set {variable}"):
        check_ports(stack)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("TASK_RETENTION", "soon", r"^TASK_RETENTION was soon; it may be a number from 0 to "),
        ("PLAN", "ulysses=5", r"^PLAN: with 2 ranks and 6 attention heads .*, was ulysses=5$"),
        ("UNWELL_MAX", "-1", r"^UNWELL_MAX was -1; it may be a number above 0"),
    ],
)
def test_a_setting_that_cannot_work_ends_the_start_with_its_sentence(
    stack: Stack, variable: str, text: str, said: str
) -> None:
    """And what did start is stopped in order, and gone."""
    told: list[str] = []
    broken = replace(stack, extra={variable: text})
    with pytest.raises(CannotStart, match=said), running(broken, say=told.append):
        raise AssertionError("it was called ready")
    assert told[-2].startswith("cannot start: ")
    assert told[-1].startswith("stopping")
    assert processes(stack.socket) == []
    check_ports(stack)
    stopped = [line.split()[4] for line in stack.log("supervisord").read_text().splitlines() if " stopped: " in line]
    assert stopped[-1] == "broker" or variable == "UNWELL_MAX"  # without a broker nothing of it can be stopped


def test_a_process_that_dies_at_the_start_is_said_with_the_end_of_its_log(stack: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "nats-server"
    broken.write_text("#!/bin/sh\necho no disk today; exit 3\n")
    broken.chmod(0o755)
    said = r"^broker does not start; the end of .*broker.log:(.|\n)*no disk today"
    with pytest.raises(CannotStart, match=said), running(replace(stack, extra={"NATS_SERVER_BIN": str(broken)})):
        raise AssertionError("it was called ready")


def test_supervisord_does_not_start_a_wrong_configuration_again(conf: ServerOptions) -> None:
    for group in conf.process_group_configs:
        process = group.process_configs[0]
        assert (process.exitcodes, process.autorestart) == ([EX_CONFIG], RestartWhenExitUnexpected)


@pytest.mark.parametrize(
    ("host", "said"),
    [("nohost.invalid", r"^cannot listen on nohost\.invalid:[0-9]+ \(.*\); set SERVER_HOST to another one$"),
     ("2001:db8::1", r"^cannot listen on \[2001:db8::1\]:[0-9]+ \(.*\); set SERVER_HOST to another one$")],
)  # fmt: skip
def test_a_host_that_cannot_be_listened_on_is_said_with_its_variable(host: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=said):
        check_ports(on_free_ports(tmp_path, server_host=host))


def test_a_stack_may_listen_on_either_family(tmp_path: Path) -> None:
    stack = Stack(
        folder=tmp_path, nats_listen="[::1]:1222", nats_monitor="[::]:1822", server_host="::", server_port=1088
    )
    assert (stack.nats_url, stack.monitor_url, stack.url) == (
        "nats://[::1]:1222",
        "http://[::1]:1822",
        "http://[::1]:1088",
    )


def test_a_folder_in_use_is_said(stack: Stack) -> None:
    stack.folder.mkdir()
    with (stack.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CannotStart, match="another stack runs in"), running(stack):
            raise AssertionError("it was called ready")


async def test_nothing_outlives_the_process_that_started_it(stack: Stack) -> None:
    """Not even where that is killed: supervisord hears of it, and stops all in order."""
    with run_in_child(stack) as starter:
        pids = await pids_of(stack)
        starter.kill()
    await eventually(lambda: not any(alive(pid) for pid in pids), within_s=30)
    check_ports(stack)


async def test_nothing_outlives_a_supervisord_that_is_killed(stack: Stack) -> None:
    with run_in_child(stack) as starter:
        pids = await pids_of(stack)
        os.kill(int((stack.folder / "supervisord.pid").read_text()), signal.SIGKILL)
        starter.kill()
    await eventually(lambda: not any(alive(pid) for pid in pids), within_s=30)
    check_ports(stack)


def test_a_second_ctrl_c_does_not_cut_the_end_short() -> None:
    told = (
        "from ops.local.stack import end_once\nimport os, signal\nend_once()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "finally: os.kill(os.getpid(), signal.SIGINT); print('in order')"
    )
    answer = subprocess.run([sys.executable, "-c", told], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "in order\n", "")


def run_in_child(stack: Stack) -> subprocess.Popen[bytes]:
    """A process that has the stack running, so that the process can be killed."""
    text = (
        "import sys\nfrom msgspec import json\nfrom ops.local.stack import Stack, running\n"
        "stack = json.decode(sys.argv[1], type=Stack, dec_hook=lambda kind, text: kind(text))\n"
        "with running(stack) as supervisord: supervisord.wait()"
    )
    described = msgspec.json.encode(stack, enc_hook=str).decode()
    return subprocess.Popen([sys.executable, "-c", text, described], cwd=REPOSITORY, stdout=subprocess.DEVNULL)


async def pids_of(stack: Stack) -> list[int]:
    """Once all have been started, and tied to supervisord: each has become its own command by then."""

    def running() -> list[int]:
        pids = [process.pid for process in processes(stack.socket) if process.name != "provision"]
        return pids if pids and all(pid and tied(pid) for pid in pids) else []

    return await eventually(running)


def tied(pid: int) -> bool:
    try:
        return b"ops.local.die_with_parent" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
