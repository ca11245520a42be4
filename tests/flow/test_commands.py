"""The five commands of the README's "Run it for real", as they are printed but for addresses, folders and the model."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest

from inference.pocket.build import build
from ops.local.ports import free_ports
from tests.kit.edge import picture, post
from tests.kit.machine import REPOSITORY
from tests.kit.pages import blocks, example
from tests.kit.process import completed, environment
from tests.kit.road import MODEL, RANKS, SIZE
from tests.kit.waiting import eventually

COMMANDS = 5
VARIABLES = 8
READY_WITHIN_S = 180
KEYS_WITHIN_S = 30
ENDED_WITHIN_S = 60
STOPPED_WITHIN_S = 60


def printed() -> tuple[str, list[str]]:
    """Return the block's exports, and its commands."""
    block = example("README.md", "nats-server -c")
    exports, _, commands = block.partition("\n\n")
    return exports, commands.splitlines()


class Five:
    """The processes of the five commands, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        nats, monitor, self.port = free_ports(3)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}"
        exports, self.commands = printed()
        changed = exports.replace(":4222", f":{nats}").replace(":8222", f":{monitor}")
        changed = re.sub(r"MODEL_CKPT_DIR=\S+", f"MODEL_CKPT_DIR={folder}/tiny", changed)
        self.exports = changed.replace("/srv/wanjet", str(folder))
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make the keys, and start each command in a shell of its own, as somebody who copies it."""
        completed("-m", "ops.nats.keys", f"{self.folder}/keys", within_s=KEYS_WITHIN_S)
        for command in self.commands:
            line = command.replace("inference.cluster 8", f"inference.cluster {RANKS}")
            line = line.replace(".venv/bin/", f"{Path(sys.executable).parent}/").replace(
                "/srv/wanjet", str(self.folder)
            )
            with (self.folder / "log").open("ab") as log:
                self.running.append(
                    subprocess.Popen(
                        ["bash", "-euc", f"{self.exports}\nexec {line}"],
                        cwd=REPOSITORY,
                        env=environment(SERVER_PORT=str(self.port), OMP_NUM_THREADS="1"),
                        stdout=log,
                        stderr=log,
                    )
                )

    def stop(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            process.wait(STOPPED_WITHIN_S)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()[-4000:]


@pytest.fixture
def five(tmp_path: Path) -> Generator[Five, None, None]:
    build(tmp_path / "tiny", MODEL)
    five = Five(tmp_path)
    five.start()
    yield five
    five.stop()


async def test_the_five_commands_make_a_video(five: Five) -> None:
    assert len(five.commands) == COMMANDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client:

        async def healthy() -> bool:
            assert all(process.poll() is None for process in five.running), five.log
            try:
                async with client.get(f"{five.url}/health") as answer:
                    return (await answer.json())["status"] == "healthy"
            except aiohttp.ClientError:
                return False

        await eventually(healthy, within_s=READY_WITHIN_S)
        body = {"prompt": "a small boat sails over a calm sea", "image_url": picture(), "image_size": SIZE}
        code, job = await post(client, f"{five.url}/video/submit", {**body, "num_frames": 25, "infer_steps": 20})
        assert code == 202, job

        async def succeeded() -> bool:
            _, status = await post(client, f"{five.url}/video/status", job)
            return status["status"] == "Succeed"

        await eventually(succeeded, within_s=ENDED_WITHIN_S)
    await asyncio.to_thread(os.stat, five.folder / "videos" / f"{job['requestId']}.mp4")


def test_eight_variables_are_explained() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    table = readme.partition("| variable | what to say |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(re.findall(r"`[A-Z_]+`", "".join(row.split("|")[1] for row in table.splitlines()))) == VARIABLES
    assert blocks(REPOSITORY / "README.md")
