"""The life of one stack: starts every process of the service under supervisord, and stops them in order.

`just up`, `just demo` and the benches enter `running(stack)`. It checks ports and stores, starts supervisord with
ops/local/supervisord.conf, waits until a job could be submitted and run, and stops all of it at the end of the block.
A second stack needs ports and a folder of its own.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from contracts.process.credentials import NoCredentials
from ops.local.paths import REPOSITORY
from ops.local.preflight import check_ports, check_stores
from ops.local.ready import Say, wait_until_ready
from ops.local.stack import CannotStart, Stack
from ops.nats import keys

CONF = REPOSITORY / "ops" / "local" / "supervisord.conf"
SUPERVISORD = ("-m", "supervisor.supervisord", "-c", str(CONF))
STOP_WITHIN_S = 130.0  # a little more than every stopwaitsecs in the conf together
LOCK = "lock"

say: Say = partial(print, flush=True)


@contextmanager
def running(stack: Stack, *, afresh: bool = False, say: Say = say) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run the stack for the length of the block; yield its supervisord once the stack is ready.

    Raises `CannotStart` if it does not become ready, or if another stack runs in the folder. `afresh` first deletes
    what an earlier run left in the folder: jobs, logs. `say` is given each line for the user.

    Enter it in a thread that outlives the block: the kernel ends supervisord with the thread that started it.
    """
    with _locked(stack.folder):
        if afresh:
            _empty(stack.folder)
        supervisord = _start(stack)
        try:
            try:
                wait_until_ready(stack, supervisord, say)
            except CannotStart as reason:
                say(f"cannot start: {reason}")  # said before stopping, which takes a while
                raise
            yield supervisord
        finally:
            _stop(supervisord, say)


@contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    """Make the folder and lock it for this process during the block.

    Raises `CannotStart` if another process has locked it. The kernel releases the lock even if the process is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"another stack runs in {folder}; end that one first") from None
        yield


def _empty(folder: Path) -> None:
    """Delete all in the folder but its lock."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _start(stack: Stack) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, where no Ctrl-C reaches it: `_stop` ends it. Raises `CannotStart`.

    Deletes the temporary files and the refusals of an earlier run.
    """
    check_ports(stack)
    check_stores(stack)
    make_keys(stack)
    stack.logs.mkdir(exist_ok=True)
    shutil.rmtree(stack.temporary, ignore_errors=True)  # each run of torchrun leaves a folder in it
    stack.temporary.mkdir()
    shutil.rmtree(stack.refusals, ignore_errors=True)
    stack.refusals.mkdir()
    log = str(stack.log("supervisord"))
    return subprocess.Popen(
        [sys.executable, "-m", "ops.local.json_lines", "supervisord", log, sys.executable, *SUPERVISORD],
        cwd=REPOSITORY,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def make_keys(stack: Stack) -> None:
    """Make the keys that the stack lacks, and its broker's configuration anew. Raises `CannotStart`."""
    try:
        keys.make(stack.keys, renew=True)
    except (OSError, NoCredentials) as error:
        raise CannotStart(f"no keys for the broker can be made in {stack.keys}: {error}") from error


def _stop(supervisord: subprocess.Popen[bytes], say: Say) -> None:
    """End supervisord, which stops the processes in order; kill it after `STOP_WITHIN_S`."""
    if supervisord.poll() is not None:
        return
    say("stopping: edge, inference, webhooks, state, broker")
    supervisord.terminate()
    try:
        supervisord.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        say(f"supervisord did not end within {STOP_WITHIN_S:.0f} s: killing it")
        supervisord.kill()
        supervisord.wait()
