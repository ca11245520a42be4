"""Processes for tests: those of a stack that runs, and a command whose child is busy."""

import os
from pathlib import Path

from ops.local.stack import Stack
from ops.local.supervisor_client import processes
from tests.kit.waiting import eventually

BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
"""A Python program that starts a child which computes without end."""


async def pids_of(stack: Stack) -> list[int]:
    """Return the pids of the stack's processes once each has become its own command, and so is tied to supervisord."""

    def running() -> list[int]:
        pids = [each.pid for each in processes(stack.socket) if each.name != "provision"]
        return pids if pids and all(pid and tied(pid) for pid in pids) else []

    return await eventually(running)


def tied(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    return b"ops.local.die_with_parent" not in command and b"ops.local.json_lines" not in command


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
