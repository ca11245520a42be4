"""Starts that cannot succeed, each on the whole stack: seconds until the sentence, and the sentence, as a table.

`python -m tests.starts.run [NAME…]`, with OLD_NATS_SERVER set to the program of a nats-server older than 2.12, which
is greeted for by a fake one otherwise. Two more starts look as if they could not succeed, and do.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ops.local.stack import Stack, on_free_ports
from tests.kit.machine import REPOSITORY, UNKNOWN_HOST
from tests.kit.process import environment

GIVE_UP_S = 120.0
SERVES = "WanJet serves"
SAID = "cannot start: "
BEGUN = "starting "


class Case(NamedTuple):
    """What is wrong with a start: its variables, the command that it is run under, and what its words must hold."""

    name: str
    variables: dict[str, str]
    expected: str
    under: tuple[str, ...] = ()


def cases(folder: Path, taken: int, old: str) -> list[Case]:
    """Return every start, each with its one fault."""
    unlinkable = "/proc/wanjet"
    sealed = folder / "sealed"
    sealed.mkdir()
    readable = folder / "not_a_folder"
    readable.write_text("")
    denying = folder / "denying.sh"
    broker_of(denying, 's#^ *"$JS.API.STREAM.CREATE.VIDEO_EVENTS"$##')
    return [
        Case("wrong folder", {"MODEL_CKPT_DIR": str(folder / "none")}, "MODEL_CKPT_DIR: "),
        Case("a folder with no checkpoint", {"MODEL_CKPT_DIR": str(folder)}, "MODEL_CKPT_DIR: "),
        Case("wrong plan", {"PLAN": "ulysses=5"}, "PLAN: "),
        Case("wrong backend", {"ATTENTION_BACKEND": "flashy"}, "ATTENTION_BACKEND was flashy"),
        Case("wrong broker address", {"NATS_LISTEN": "localhost"}, "NATS_LISTEN was localhost; "),
        Case("a broker that is too old", {"NATS_SERVER_BIN": old}, "2.12 or newer is needed"),
        Case("no rights at the broker", {"NATS_SERVER_BIN": str(denying)}, "does not let this user publish to "),
        Case("taken port", {"SERVER_PORT": str(taken)}, "set SERVER_PORT to another one"),
        Case("a store that takes no files", {"VIDEO_STORE_URL": unlinkable}, "VIDEO_STORE_URL: "),
        Case("a read-only store", {"VIDEO_STORE_URL": str(sealed)}, "is read-only", under_a_read_only(sealed)),
        Case("a store below a file", {"SCRATCH_STORE_URL": f"{readable}/scratch"}, "SCRATCH_STORE_URL: "),
        Case("bad host name to listen on", {"SERVER_HOST": "nohost.invalid"}, "set SERVER_HOST to another one"),
        Case("a number that is none", {"TASK_TIMEOUT": "nan"}, "TASK_TIMEOUT was nan; "),
        Case("a host whose name resolves to nothing", {}, SERVES, UNKNOWN_HOST),
        Case("a locale that is not there", {"LC_ALL": "xx_XX.ISO-8859-1"}, SERVES),
    ]


def under_a_read_only(mount: Path) -> tuple[str, ...]:
    """Return what a command is run under to see a read-only file system at this folder."""
    mounting = f"mount -t tmpfs -o ro none '{mount}' && exec \"$@\""
    return ("unshare", "--mount", "--user", "--map-root-user", "sh", "-c", mounting, "sh")


def broker_of(program: Path, edit: str) -> None:
    """Write a program that runs the real nats-server after an edit, by sed, of the users and their rights."""
    server = Path(sys.executable).parent / "nats-server"
    users = 'users="$(dirname "$2")/users.conf"'
    program.write_text(f"#!/bin/sh\n{users}\nsed -i '{edit}' \"$users\"\nexec '{server}' \"$@\"\n")
    program.chmod(0o755)


def old_broker(program: Path) -> str:
    """Return the old server of OLD_NATS_SERVER, or write one that greets as such on the port of the stack."""
    if given := os.environ.get("OLD_NATS_SERVER"):
        return given
    program.write_text(f"#!{sys.executable}\n{OLD}")
    program.chmod(0o755)
    return str(program)


OLD = r"""
import json, os, socketserver, threading, http.server
host, port = json.loads(os.environ["NATS_LISTEN"]).rsplit(":", 1)
class Greeting(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b'INFO {"server_id":"A","version":"2.10.26","headers":true,"max_payload":262144}\r\n')
        for line in self.rfile:
            if line.startswith(b"PING"):
                self.wfile.write(b"PONG\r\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((host, int(port)), Greeting).serve_forever()
"""


class Outcome(NamedTuple):
    """How a start went: seconds until its sentence and until its end, and the sentence."""

    said_s: float
    ended_s: float
    sentence: str


def outcome(stack: Stack, case: Case) -> Outcome:
    """Start the whole stack as `just up` does, and wait for its sentence and its end."""
    variables = {
        "WANJET_FOLDER": str(stack.folder),
        "NATS_LISTEN": stack.nats_listen,
        "NATS_MONITOR": stack.nats_monitor,
        "SERVER_PORT": str(stack.server_port),
        "METRICS_PORT": "0",
        "VIDEO_STORE_URL": stack.video_store_url,
        "SCRATCH_STORE_URL": stack.scratch_store_url,
        **case.variables,
    }
    began = time.monotonic()
    command = [*case.under, sys.executable, "-m", "ops.local.up"]
    said_s, sentence = 0.0, ""
    with started(command, variables) as up:
        for line in up.stdout or ():
            if time.monotonic() - began > GIVE_UP_S:
                break
            if not sentence and not line.startswith((" ", BEGUN)):
                said_s, sentence = time.monotonic() - began, line.strip().removeprefix(SAID)
            if SERVES in line:
                break
    return Outcome(said_s or time.monotonic() - began, time.monotonic() - began, sentence)


@contextmanager
def started(
    command: list[str], variables: dict[str, str], repository: Path = REPOSITORY
) -> Generator[subprocess.Popen[str], None, None]:
    with subprocess.Popen(
        command,
        cwd=repository,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as up:
        try:
            yield up
        finally:
            up.terminate()
            if up.stdout is not None:
                up.stdout.read()


def main(names: list[str], say: Callable[[str], None] = print) -> int:
    """Print the table; return how many starts did not say what they should."""
    failed = 0
    with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as taken:
        folder = Path(place)
        every = cases(folder, taken.getsockname()[1], old_broker(folder / "old-nats-server"))
        say("| start | sentence after s | ended after s | sentence |\n|---|---|---|---|")
        for case in every:
            if names and not any(name in case.name for name in names):
                continue
            stack = on_free_ports(folder / case.name, video_store_url=f"{place}/v", scratch_store_url=f"{place}/s")
            found = outcome(stack, case)
            well = case.expected in found.sentence
            failed += not well
            shown = found.sentence.replace(place, "…")[:300]
            say(f"| {case.name}{'' if well else ' FAILED'} | {found.said_s:.1f} | {found.ended_s:.1f} | {shown} |")
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:], lambda text: print(text, flush=True))))
