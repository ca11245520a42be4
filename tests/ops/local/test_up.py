"""`just up` as a person ends it: by a signal to `just`."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from ops.local.preflight import check_ports
from ops.local.stack import Stack, on_free_ports
from ops.local.supervisor import CONF
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment
from tests.kit.waiting import eventually
from tests.ops.local.pids import alive, pids_of

JUST = Path(sys.executable).parent / "just"
ENDS_WITHIN_S = 60


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return on_free_ports(tmp_path / "up", video_store_url=str(tmp_path), scratch_store_url=str(tmp_path))


@pytest.fixture
def just(stack: Stack, tmp_path: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """`just up` with the recipe of our justfile, less the set-up, which would install the project."""
    recipes = (REPOSITORY / "justfile").read_text().replace("up: setup", "up:")
    justfile = tmp_path / "justfile"
    justfile.write_text(recipes.replace('".venv/bin/python"', f'"{sys.executable}"'))
    variables = environment(
        WANJET_FOLDER=str(stack.folder),
        NATS_LISTEN=stack.nats_listen,
        NATS_MONITOR=stack.nats_monitor,
        SERVER_PORT=str(stack.server_port),
        METRICS_PORT="0",
        VIDEO_STORE_URL=stack.video_store_url,
        SCRATCH_STORE_URL=stack.scratch_store_url,
    )
    started = subprocess.Popen(
        [JUST, "--justfile", justfile, "--working-directory", REPOSITORY, "up"],
        env=variables,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield started
    started.kill()
    started.wait()


async def test_the_status_is_no_failure_where_webhooks_are_off(stack: Stack, just: subprocess.Popen[bytes]) -> None:
    pids = await started(stack)
    done = await asyncio.to_thread(ctl, stack, "status")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5), done.stdout
    assert "webhooks" not in done.stdout
    just.send_signal(signal.SIGTERM)
    await gone(stack, just, pids)


def ctl(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Speak to the stack's supervisord as `just ctl` does."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(CONF), *arguments],
        env=environment(WANJET_SOCKET=str(stack.socket)),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_to_just_ends_the_whole_stack(
    stack: Stack, just: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    pids = await started(stack)
    os.kill(just.pid, number)
    await gone(stack, just, pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_of_the_terminal_ends_the_whole_stack(
    stack: Stack, just: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """Ctrl-C, or the terminal hangs up: all in its foreground hear it, and just leaves it to them."""
    pids = await started(stack)
    os.killpg(just.pid, number)
    await gone(stack, just, pids)


async def started(stack: Stack) -> list[int]:
    pids = await pids_of(stack)
    return [*pids, int((stack.folder / "supervisord.pid").read_text())]


async def gone(stack: Stack, just: subprocess.Popen[bytes], pids: list[int]) -> None:
    await eventually(lambda: not any(alive(pid) for pid in pids), within_s=ENDS_WITHIN_S)
    await eventually(lambda: just.poll() is not None)
    check_ports(stack)
