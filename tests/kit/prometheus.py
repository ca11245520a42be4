"""A real Prometheus that scrapes real processes, with our rules, for the tests that ask it our queries."""

import json
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.kit.machine import free_port
from tests.kit.queries import RULES
from tests.kit.waiting import eventually

PROGRAM = shutil.which("prometheus")
SCRAPE_EVERY_S = 1
STOP_WITHIN_S = 20

Series = list[tuple[float, float]]
"""Times in Unix seconds, each with a value that is a number."""


class Prometheus:
    """A Prometheus in a folder of its own, on a free port. Whoever starts it stops it."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[int]]) -> None:
        folder.mkdir(parents=True)
        self._folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": f"{SCRAPE_EVERY_S}s", "evaluation_interval": f"{SCRAPE_EVERY_S}s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [
                        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
                        for job, ports in targets.items()
                    ],
                }
            )
        )
        self._running: subprocess.Popen[bytes] | None = None
        self.began = time.time()

    def start(self) -> None:
        assert PROGRAM is not None
        with (self._folder / "log").open("wb") as log:
            self._running = subprocess.Popen(
                [
                    PROGRAM,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)
        self._running.wait(STOP_WITHIN_S)

    async def ready(self, client: aiohttp.ClientSession) -> None:
        async def ready() -> bool:
            assert self._running is not None
            assert self._running.poll() is None, (self._folder / "log").read_text()
            try:
                async with client.get(f"http://127.0.0.1:{self.port}/-/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(ready, within_s=30)

    async def value(self, client: aiohttp.ClientSession, query: str) -> float | None:
        """Return the one value that a query has now; None for none. AssertionError for several."""
        found = await self._ask(client, "query", query=query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    async def over_time(self, client: aiohttp.ClientSession, query: str) -> dict[str, Series]:
        """Return what a query gave from the start until now, by the labels of each series, without NaN and Inf."""
        found = await self._ask(
            client, "query_range", query=query, start=f"{self.began}", end=f"{time.time()}", step=f"{SCRAPE_EVERY_S}"
        )
        series = {
            json.dumps(each["metric"], sort_keys=True): [
                (float(at), float(value)) for at, value in each["values"] if math.isfinite(float(value))
            ]
            for each in found
        }
        return {labels: values for labels, values in series.items() if values}

    async def alerts(self, client: aiohttp.ClientSession) -> dict[str, str]:
        """Return the state of each rule, `inactive`, `pending` or `firing`, by its name. A rule at fault fails."""
        async with client.get(f"{self.url}/rules") as answer:
            groups = (await answer.json())["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [rule for rule in rules if rule["health"] != "ok"] == []
        return {rule["name"]: rule["state"] for rule in rules}

    async def _ask(self, client: aiohttp.ClientSession, what: str, **asked: str) -> list[Any]:
        async with client.post(f"{self.url}/{what}", data=asked) as answer:
            said = await answer.json()
        assert said["status"] == "success", f"{asked}: {said}"
        return said["data"]["result"]
