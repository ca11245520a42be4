"""Run a child process on a stranger's bytes: a sandbox by limits. The child is killed at the latest when a block ends.

`bodies` reads large bodies in one, and `normalise` decodes images. The signal that ended a child says whose fault that
was: SIGXCPU, its CPU limit, means the bytes; SIGKILL means a machine that is out of memory.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from contracts.process import log
from services.edge.errors import Overloaded

STDERR_CHARS_MAX = 500


@asynccontextmanager
async def child(module: str, *arguments: str, files: tuple[int, ...]) -> AsyncGenerator[Process, None]:
    """Run `python -m module` with these arguments, its standard streams as pipes, and kill it when the block ends.

    `files` are the descriptors that the child inherits; it has no environment. Raises `Overloaded` if no process can be
    started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            pass_fds=files,
            env={"PATH": ""},  # no credentials, no addresses
        )
    except OSError as error:  # no process, no memory or no descriptor is left
        log.get().warning("child_not_started", module=module, error=repr(error))
        raise Overloaded from error
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def used_up_its_cpu(process: Process) -> bool:
    """Return whether the child was ended by its CPU limit."""
    return process.returncode == -signal.SIGXCPU


def was_killed(process: Process) -> bool:
    """Return whether the child was killed, as the kernel does when memory is short."""
    return process.returncode == -signal.SIGKILL


def lost(process: Process, words: bytes) -> Overloaded:
    """Log the end of a child that failed through no fault of its input, and return what to raise for that.

    `words` is the child's standard error.
    """
    text = words.decode(errors="replace")[-STDERR_CHARS_MAX:]
    log.get().error("child_lost", returncode=process.returncode, error=text)
    return Overloaded()
