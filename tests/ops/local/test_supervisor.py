"""supervisord runs a stack as its configuration says, and nothing of it outlives the stack."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.options import ServerOptions

from contracts.process.start import EX_CONFIG
from ops.local.preflight import check_ports
from ops.local.stack import CannotStart, Stack, on_free_ports
from ops.local.supervisor import CONF, STOP_WITHIN_S, running
from ops.local.supervisor_client import processes
from tests.kit.machine import REPOSITORY
from tests.kit.waiting import eventually
from tests.ops.local.odd_names import ODD
from tests.ops.local.pids import alive, pids_of

TORCHRUN_KILLS_AFTER_S = 30
WITH_WEBHOOKS = {"WEBHOOK_SECRET": f"whsec_{'A' * 32}"}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return on_free_ports(
        tmp_path / "a folder",
        video_store_url=str(tmp_path),
        scratch_store_url=str(tmp_path),
        extra=WITH_WEBHOOKS,
    )


@pytest.fixture
def conf(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    """Our configuration as supervisord itself reads it."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    (stack.folder / "logs").mkdir(parents=True)
    options = ServerOptions()
    options.realize(["-c", str(CONF)])
    return options


def test_the_edge_stops_first_then_inference_then_webhooks_then_state_then_the_broker(conf: ServerOptions) -> None:
    stopping = [group.name for group in sorted(conf.process_group_configs, reverse=True)]
    assert stopping == ["edge", "inference", "webhooks", "state", "provision", "broker"]


def test_every_process_has_its_time_to_stop(conf: ServerOptions) -> None:
    allowed_s = {group.name: group.process_configs[0].stopwaitsecs for group in conf.process_group_configs}
    assert allowed_s["inference"] > TORCHRUN_KILLS_AFTER_S
    assert sum(allowed_s.values()) < STOP_WITHIN_S


def test_every_process_has_a_log_of_its_own(conf: ServerOptions, stack: Stack) -> None:
    for group in conf.process_group_configs:
        assert group.process_configs[0].stdout_logfile == str(stack.log(group.name))


@pytest.mark.parametrize("name", ODD)
def test_a_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = on_free_ports(tmp_path / name, extra=WITH_WEBHOOKS)
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
        assert str(stack.log(group.name)) in command
        assert (str(program) in command) is (group.name == "broker")


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
    """Processes that did start are stopped in order, and gone."""
    told: list[str] = []
    broken = replace(stack, extra={variable: text})
    with pytest.raises(CannotStart, match=said), running(broken, say=told.append):
        raise AssertionError("it was called ready")
    assert told[-2].startswith("cannot start: ")
    assert told[-1].startswith("stopping")
    assert processes(stack.socket) == []
    check_ports(stack)
    lines = [msgspec.json.decode(line) for line in stack.log("supervisord").read_text().splitlines()]
    stopped = [line["text"].split()[4] for line in lines if " stopped: " in line["text"]]
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


def test_webhooks_are_started_only_with_a_secret(conf: ServerOptions, stack: Stack) -> None:
    (webhooks,) = [group for group in conf.process_group_configs if group.name == "webhooks"]
    assert len(webhooks.process_configs) == 1
    assert replace(stack, extra={"WEBHOOK_SECRET": ""}).environment()["WANJET_WEBHOOKS"] == "0"


def test_a_folder_in_use_is_said(stack: Stack) -> None:
    stack.folder.mkdir()
    with (stack.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CannotStart, match="another stack runs in"), running(stack):
            raise AssertionError("it was called ready")


async def test_nothing_outlives_the_process_that_started_it(stack: Stack) -> None:
    """Killing that process has the kernel tell supervisord, which stops all in order."""
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


def run_in_child(stack: Stack) -> subprocess.Popen[bytes]:
    """A process that has the stack running, so that the process can be killed."""
    text = (
        "import sys\nfrom msgspec import json\nfrom ops.local.stack import Stack\n"
        "from ops.local.supervisor import running\n"
        "stack = json.decode(sys.argv[1], type=Stack, dec_hook=lambda kind, text: kind(text))\n"
        "with running(stack) as supervisord: supervisord.wait()"
    )
    described = msgspec.json.encode(stack, enc_hook=str).decode()
    return subprocess.Popen([sys.executable, "-c", text, described], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
