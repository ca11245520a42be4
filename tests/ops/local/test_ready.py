"""Whether a stack is ready: what it waits for, in words, and how long it waits for what goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ops.local.host_header import host_header
from ops.local.ready import StallDetector, find_missing
from ops.local.stack import Stack, on_free_ports
from ops.local.supervisor import running
from ops.local.work import work
from services.edge.http.hosts import is_served
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment
from tests.kit.waiting import eventually
from tests.ops.local.pids import BUSY

READY = (200, b'{"status": "ready"}')
HEALTHY = (200, b'{"status": "ok", "clusters": [{"started_at": 5}]}')
NOT_SERVED = (400, b'{"error": "BAD_REQUEST", "message": "this host is not served here"}')
ENDS_WITHIN_S = 60


@contextmanager
def answering(folder: Path, **answers: tuple[int, bytes]) -> Generator[Stack, None, None]:
    """A stack whose edge is a server with these answers."""

    class Edge(BaseHTTPRequestHandler):
        """Answers a path with the status and the body of its name in `answers`."""

        def do_GET(self) -> None:
            status, body = answers[self.path.removeprefix("/")]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Edge) as server:
        serving = Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield Stack(folder=folder, server_port=server.server_port)
        finally:
            server.shutdown()
            serving.join()


def refused(why: str) -> tuple[int, bytes]:
    return 503, json.dumps({"error": "UNAVAILABLE", "message": why}).encode()


@pytest.mark.parametrize(
    ("readyz", "health", "what", "process"),
    [
        (refused("a store is full (ENOSPC)"), HEALTHY, "the edge to be ready: a store is full (ENOSPC)", "edge"),
        (refused("the broker is away"), HEALTHY, "the edge to be ready: the broker is away", "provision"),
        ((404, b"<html>"), HEALTHY, "the edge to be ready: it answered 404", "edge"),
        ((503, b"busy"), HEALTHY, "the edge to be ready: it answered 503", "edge"),
        (READY, NOT_SERVED, "the edge to answer /health: it answered 400, this host is not served here", "edge"),
        (READY, (500, b""), "the edge to answer /health: it answered 500", "edge"),
        (READY, (200, b"<html>"), "the edge to answer /health: it answered 200", "edge"),
        (READY, (503, b'{"status": "unhealthy", "clusters": []}'), "the cluster to load its model", "inference"),
        (READY, (200, b'{"clusters": [{"started_at": 1}]}'), "the cluster to load its model", "inference"),
    ],
)  # fmt: skip
def test_what_is_waited_for_says_why_the_edge_is_not_ready(
    readyz: tuple[int, bytes], health: tuple[int, bytes], what: str, process: str, tmp_path: Path
) -> None:
    with answering(tmp_path, readyz=readyz, health=health) as stack:
        missing = find_missing(stack, since=2)
    assert missing is not None
    assert (missing.what, missing.process) == (what, process)


def test_nothing_is_waited_for_once_a_cluster_of_this_run_is_there(tmp_path: Path) -> None:
    with answering(tmp_path, readyz=READY, health=HEALTHY) as stack:
        assert find_missing(stack, since=2) is None


def test_an_edge_that_nobody_hears_is_waited_for(tmp_path: Path) -> None:
    missing = find_missing(on_free_ports(tmp_path), since=0)
    assert missing is not None
    assert missing.what == "the edge to answer"


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("", None),
        ("*", None),
        ("api.example.com, *", None),
        ("api.example.com,127.0.0.1", None),
        ("api.example.com", "api.example.com"),
        (" api.example.com:8088 , b.org", "api.example.com:8088"),
        ("*.example.com", "wanjet.example.com"),
        ("[::1]", "[::1]"),
        ("ü b, a.org", "a.org"),
        ("ü b", None),
    ],
)
def test_a_stack_asks_its_edge_as_a_host_that_is_served(allowed: str, sent: str | None, tmp_path: Path) -> None:
    assert host_header(allowed, "127.0.0.1") == sent
    assert Stack(folder=tmp_path, extra={"ALLOWED_HOSTS": allowed}).host == sent
    if sent is not None:
        assert is_served(sent, tuple(part.strip() for part in allowed.split(",")))


def test_a_stack_that_serves_only_a_name_gets_ready(tmp_path: Path) -> None:
    stack = on_free_ports(
        tmp_path / "stack",
        ranks=1,
        video_store_url=str(tmp_path / "videos"),
        scratch_store_url=str(tmp_path / "scratch"),
        extra={"ALLOWED_HOSTS": "api.example.com"},
    )
    told: list[str] = []
    with running(stack, say=told.append):
        assert told[-1].endswith("ready")


async def test_only_time_without_progress_counts() -> None:
    within_s, answers = 2.0, list[bool]()
    with subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) as loading:  # noqa: ASYNC220
        try:
            await eventually(lambda: work(loading.pid) > 0.5, within_s=60)
            stall, began = StallDetector(within_s), time.monotonic()

            def asked_for_long() -> bool:
                answers.append(stall.stalled(loading.pid))
                return time.monotonic() - began > 3 * within_s

            await eventually(asked_for_long, within_s=60)
            assert not any(answers)
        finally:
            os.killpg(loading.pid, signal.SIGKILL)
    await eventually(lambda: stall.stalled(loading.pid), within_s=60)


async def test_a_process_that_does_nothing_is_waited_for_only_so_long() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:  # noqa: ASYNC220
        for pid in (idle.pid, 0):
            stall = StallDetector(0.5)
            assert not stall.stalled(pid)
            await eventually(lambda stall=stall, pid=pid: stall.stalled(pid), within_s=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_is_how_it_is_meant_to_end_and_exits_with_0(number: signal.Signals, tmp_path: Path) -> None:
    stack = on_free_ports(tmp_path / "stack")
    variables = environment(
        WANJET_FOLDER=str(stack.folder),
        NATS_LISTEN=stack.nats_listen,
        NATS_MONITOR=stack.nats_monitor,
        SERVER_PORT=str(stack.server_port),
        METRICS_PORT="0",
        VIDEO_STORE_URL=str(tmp_path / "videos"),
        SCRATCH_STORE_URL=str(tmp_path / "scratch"),
    )
    log = tmp_path / "up.log"
    with (
        log.open("wb") as words,
        subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "ops.local.up"], cwd=REPOSITORY, env=variables, stdout=words, stderr=words
        ) as up,
    ):
        try:
            await eventually(lambda: "waiting for" in log.read_text(), within_s=30)
            up.send_signal(number)
            assert up.wait(ENDS_WITHIN_S) == 0
        finally:
            up.kill()
    assert "Traceback" not in log.read_text()
