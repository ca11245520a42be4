"""A job's way can be followed through the logs of all processes, each of whose lines is JSON."""

import asyncio
import json
import shutil
import subprocess
from typing import Any

import aiohttp
import pytest

from tests.kit import auth
from tests.kit.pages import example
from tests.kit.process import Process
from tests.kit.road import LONG, Road
from tests.kit.waiting import eventually

POLLED = "/video/status/{job_id}"


def lines_about(job_id: str, road: Road) -> list[dict[str, Any]]:
    """The lines of all processes about a job; a line of a process that is no JSON fails the test."""
    whole: list[dict[str, Any]] = []
    for process in (road.edge, road.state, road.cluster):
        whole += [json.loads(line) for line in written(process)]
    return [line for line in whole if line.get("job_id") == job_id]


def written(process: Process) -> list[str]:
    """The lines of a process as far as they are whole."""
    return process.text.rpartition("\n")[0].splitlines()


@auth.WITHOUT_KEYS  # with keys each change has one more line
async def test_a_job_has_five_lines_and_one_for_each_question_about_it(
    road: Road, client: aiohttp.ClientSession
) -> None:
    job_id = await road.submit(client)
    await road.ended(client, job_id)
    await eventually(lambda: any(line["event"] == "status_ended" for line in lines_about(job_id, road)))
    lines = [line for line in lines_about(job_id, road) if line.get("route") != POLLED]
    assert sorted((line["service"], line["event"]) for line in lines) == [
        ("edge", "job_accepted"),
        ("edge", "request_served"),
        ("inference", "job_ended"),
        ("inference", "job_started"),
        ("state", "status_ended"),
    ]
    assert {line["level"] for line in lines} == {"info"}
    (ended,) = [line for line in lines if line["event"] == "job_ended"]
    assert (ended["model"], ended["size"], ended["steps"], ended["attempts"]) == ("tiny", "64*48", 20, 1)
    assert ended["plan"].startswith("cfg=")
    assert ended["denoise_s"] > 0
    assert ended["waited_s"] + ended["denoise_s"] <= ended["total_s"]
    assert ended["bytes"] > 0


async def test_a_cancelled_job_has_one_line_at_its_end_too(road: Road, client: aiohttp.ClientSession) -> None:
    job_id = await road.submit(client, **LONG)
    async with client.post(f"{road.edge.url}/video/cancel", json={"requestId": job_id}) as answer:
        assert answer.status == 200

    def endings() -> list[dict[str, Any]]:
        return [line for line in lines_about(job_id, road) if line["event"] == "job_ended"]

    (ended,) = [line for line in await eventually(endings) if line["ours"]]
    assert (ended["service"], ended["ending"], ended["steps"]) == ("edge", "JobCancelled", LONG["infer_steps"])


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
async def test_the_pages_example_finds_the_lines_of_a_job(road: Road, client: aiohttp.ClientSession) -> None:
    job_id = await road.submit(client)
    await road.ended(client, job_id)
    await eventually(lambda: any(line["event"] == "status_ended" for line in lines_about(job_id, road)))
    logs = {road.edge.log: "edge.log", road.state.log: "state.log", road.cluster.log: "inference.log"}
    folder = road.folder / "read"
    folder.mkdir()
    for log, name in logs.items():
        shutil.copy(log, folder / name)
    commands = example("ops/logs.md", "jq -c").replace(".wanjet/up/logs", str(folder))
    command = ["sh", "-ec", f"ID={job_id}\n{commands}"]
    printed = await asyncio.to_thread(subprocess.check_output, command, text=True)
    found = [json.loads(line)["event"] for line in printed.splitlines()]
    assert {"job_accepted", "job_started", "job_ended", "status_ended"} <= set(found)
