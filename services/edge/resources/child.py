"""A child process that works on what a stranger sent. It is limited, and killed at the latest when its block ends.

What ends a child says whose fault it was: its CPU limit (SIGXCPU) what it was given, SIGKILL a machine that is out of
memory.
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
    """Run `python -m module`, which inherits these descriptors, for the length of the block. Raises `Overloaded`."""
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
            env={"PATH": ""},  # nothing of ours: no credentials, no addresses
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
    return process.returncode == -signal.SIGXCPU


def was_killed(process: Process) -> bool:
    return process.returncode == -signal.SIGKILL


def lost(process: Process, words: bytes) -> Overloaded:
    """Log the end of a child that could not do its work, through no fault of what it was given."""
    text = words.decode(errors="replace")[-STDERR_CHARS_MAX:]
    log.get().error("child_lost", returncode=process.returncode, error=text)
    return Overloaded()
