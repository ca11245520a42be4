"""The runbook's blocks on a running `just up`, as they are printed but for the addresses, one after the other."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from inference.pocket.build import build
from ops.local.stack import MEASURED, Stack, on_free_ports
from ops.local.supervisor import running
from ops.local.supervisor_client import control
from tests.kit.edge import picture, post
from tests.kit.machine import REPOSITORY, free_port
from tests.kit.pages import blocks
from tests.kit.process import environment
from tests.kit.road import MODEL, SIZE
from tests.kit.scrape import scrape
from tests.kit.waiting import eventually

PAGE = "ops/runbook.md"
BLOCK_WITHIN_S = 120
ENDED_WITHIN_S = 60
PATH_BLOCK = 'export PATH="$PWD/.venv/bin:$PATH"\n'

SAYS = [
    ('"status":', '"name": "VIDEO_JOBS"', "RUNNING"),
    ("finished.succeeded", "job_accepted"),
    ("inference: started", "finished.succeeded"),
    ("ALREADY_FINISHED",),
    ('"max_concurrent":12',),
    ("no slot is taken",),
    ("SERVER_PORT was 80000; it may be", "exit code 78"),
    ("runs            yes",),
    ("NATS_CREDS was /nowhere/wanjet.creds", "exit code 78"),
    ('"status":"ok"',),
    ("broker: started",),
    ("restored 1 of 1 job", '"status":"Succeed"'),
    ("folded",),
    ("edge: started", "state: started", "inference: started"),
]
"""What the blocks print, in their order, less the one that sets the path."""


def ports_together(count: int) -> int:
    """Return the first of so many free ports in a row."""
    for _ in range(100):
        first = free_port()
        with suppress(OSError), ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError(f"no {count} free ports stand together")


@pytest.fixture
def stack(tmp_path: Path) -> Generator[Stack, None, None]:
    """A running stack of the tests' own model. A thread keeps it, since the kernel ends supervisord with its thread."""
    build(tmp_path / "tiny", MODEL)
    stack = on_free_ports(
        tmp_path / "up",
        video_store_url=str(tmp_path / "videos"),
        scratch_store_url=str(tmp_path / "scratch"),
        metrics_port=ports_together(len(MEASURED)),
        extra={
            "MODEL_CKPT_DIR": str(tmp_path / "tiny"),
            "OMP_NUM_THREADS": "1",
            "WEBHOOK_SECRET": f"whsec_{'A' * 32}",
        },
    )
    with running(stack, say=lambda _line: None):
        yield stack


def shell(stack: Stack, folder: Path, block: str, job_id: str) -> str:
    """Run a block in the repository, with `just` and the tools on the path; return all that it prints."""
    for printed, here in (
        ("http://127.0.0.1:8088", stack.url),
        ("http://127.0.0.1:8222", stack.monitor_url),
        (".wanjet/up", str(stack.folder)),
    ):
        block = block.replace(printed, here)
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd=REPOSITORY,
        env=environment(
            ID=job_id,
            PATH=f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            NATS_URL=stack.nats_url,
            NATS_MONITOR_URLS=stack.monitor_url,
            WANJET_FOLDER=str(stack.folder),
            VIDEO_STORE_URL=stack.video_store_url,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BLOCK_WITHIN_S,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}"
    return done.stdout


def put_just_into(folder: Path) -> None:
    """Write a `just` with the recipes of our justfile, less the set-up, which would install the project."""
    recipes = (REPOSITORY / "justfile").read_text().replace(": setup\n", ":\n")
    recipes = recipes.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    (folder / "justfile").write_text(recipes)
    program = folder / "just"
    just = Path(sys.executable).parent / "just"
    program.write_text(f'#!/bin/sh\nexec {just} --justfile {folder}/justfile --working-directory {REPOSITORY} "$@"\n')
    program.chmod(0o755)


@pytest.mark.timeout(600)
async def test_every_procedure_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    first, *printed = [block.text for block in blocks(REPOSITORY / PAGE)]
    assert first == PATH_BLOCK
    tools = tmp_path / "tools"
    tools.mkdir()
    put_just_into(tools)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client:
        body = {"prompt": "a small boat sails over a calm sea", "image_url": picture(), "image_size": SIZE}
        code, job = await post(client, f"{stack.url}/video/submit", {**body, "num_frames": 25, "infer_steps": 20})
        assert code == 202, job

        async def succeeded() -> bool:
            _, status = await post(client, f"{stack.url}/video/status", job)
            return status["status"] == "Succeed"

        await eventually(succeeded, within_s=ENDED_WITHIN_S)
        await eventually((tmp_path / "videos" / f"{job['requestId']}.json").exists)
    for block, words in zip(printed, SAYS, strict=True):
        said = await asyncio.to_thread(shell, stack, tools, block, job["requestId"])
        for word in words:
            assert word in said, f"{block}\n{said}"
    async with aiohttp.ClientSession() as client:
        for port in stack.metrics_ports.values():  # the last block has restarted all of them

            async def served(port: int = port) -> bool:
                scraped = await scrape(client, port)
                return scraped is not None and scraped.has("wanjet_build_info")

            await eventually(served, within_s=60)
    logs = {log.name: log.read_text().rpartition("\n")[0].splitlines() for log in stack.logs.glob("*.log")}
    assert {"broker.log", "edge.log", "inference.log", "state.log", "supervisord.log"} <= set(logs)
    assert [line for lines in logs.values() for line in lines if not is_object(line)] == [], "every line is JSON"
    with control(stack.socket) as server:
        assert server.supervisor.readProcessStdoutLog("edge", 0, 0) == stack.log("edge").read_text(), "`just ctl tail`"


def is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
