"""A drill of an edge in an empty network of its own: how a test starts one, and how one runs there."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.kit.broker import Broker
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment

AVAILABLE = os.geteuid() == 0 and shutil.which("unshare") is not None


def seen_apart(module: str, *, within_s: float) -> dict[str, Any]:
    """Run that module in a fresh network and mount namespace, and return what it saw: the last line that it prints."""
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", module],
        cwd=REPOSITORY,
        env=environment(PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def run_apart(drill: Callable[[Path, Broker], Awaitable[dict[str, Any]]]) -> None:
    """Run the drill with a broker and a folder of its own, and print what it saw as one line of JSON."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            broker = Broker(Path(folder) / "jetstream")
            broker.start()
            try:
                sys.stdout.write(json.dumps(await drill(Path(folder), broker)) + "\n")
            finally:
                broker.kill()

    asyncio.run(run())
