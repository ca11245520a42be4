"""A liveness probe: runs a command and ends it once a URL has not answered 200 for too long.

`python -m ops.local.liveness URL COMMAND…`; supervisord.conf runs the broker so, and starts both again.
A nats-server whose disk was full refuses every write until it is restarted, even if the disk has room again; its
/healthz then answers 503.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from types import FrameType

from msgspec import Struct

from contracts.process import env, log, start
from contracts.process.settings import Wait
from ops.local.die_with_parent import PARENT
from ops.local.http import ask

POLL_S = 0.25
STOP_WITHIN_S = 10.0


class Settings(Struct, frozen=True):
    """Seconds without a 200 after which the command is ended: before the first 200, and after a later one."""

    starting_max: Wait = 600
    unwell_max: Wait = 30


def main(url: str, command: Sequence[str], settings: Settings) -> int:
    """Run the command to its end and return its exit code. SIGTERM is passed on; the command dies with this process.

    End the command if `url` does not answer 200 for as long as the settings allow. Call it in the main thread.
    """
    environment = {**os.environ, PARENT: str(os.getpid())}
    child = subprocess.Popen([sys.executable, "-m", "ops.local.die_with_parent", *command], env=environment)

    def stop(_number: int, _frame: FrameType | None) -> None:
        child.terminate()

    signal.signal(signal.SIGTERM, stop)
    deadline = time.monotonic() + settings.starting_max
    while not _ended(child, within_s=POLL_S):
        if _well(url):
            deadline = time.monotonic() + settings.unwell_max
        elif time.monotonic() > deadline:
            log.get().error("unwell_for_too_long", url=url)
            _end(child)
    return child.returncode


def _well(url: str) -> bool:
    """Return whether the URL answers 200 now."""
    try:
        return ask(url)[0] == HTTPStatus.OK
    except (OSError, HTTPException):
        return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, and SIGKILL after `STOP_WITHIN_S`; return once the child has ended."""
    child.terminate()
    if not _ended(child, within_s=STOP_WITHIN_S):
        child.kill()
        child.wait()


def _ended(child: subprocess.Popen[bytes], *, within_s: float) -> bool:
    """Wait for the child for up to `within_s`, and return whether it has ended."""
    try:
        child.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


if __name__ == "__main__":
    with start.refusing("liveness"):
        read = env.read(Settings)
        start.configure_log("liveness", own_stdout=True)
    sys.exit(main(sys.argv[1], sys.argv[2:], read))
