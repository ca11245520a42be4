"""One job, one trace: from the HTTP request through the queue to the steps and the ending, printed by every process."""

import base64
import json
import re
from collections.abc import AsyncGenerator, Generator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.kit import auth
from tests.kit.edge import PROMPT, picture
from tests.kit.machine import REPOSITORY, free_port
from tests.kit.pages import blocks
from tests.kit.process import PLANTED, Process
from tests.kit.road import LONG, SIZE, Road
from tests.kit.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
PAGE = "ops/README.md"
STEPS = 20

Spans = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pictures_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, pictures_port: int) -> Generator[Road, None, None]:
    """A road whose processes all trace into one file."""
    folder = tmp_path_factory.mktemp("traced")
    variables = {
        "OTEL_TRACES_EXPORTER": "console",
        "TRACES_FILE": str(folder / "spans.jsonl"),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8",
        "OUTBOUND_ALLOWED_PORTS": str(pictures_port),
    }
    with Road(folder, **variables).running() as road:
        yield road


@pytest.fixture
async def picture_url(pictures_port: int) -> AsyncGenerator[str, None]:
    """The address of a picture, with a query that may stand in no trace."""
    png = base64.b64decode(picture().partition(",")[2])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=png, content_type="image/png")

    app = web.Application()
    app.router.add_get("/boat.png", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", pictures_port).start()
    yield f"http://127.0.0.1:{pictures_port}/boat.png?token={PLANTED}"
    await runner.cleanup()


def spans_in(road: Road) -> Spans:
    text = (road.folder / "spans.jsonl").read_text()
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


async def whole(road: Road, trace_id: str, *last: str) -> Spans:
    """The spans of a trace, once those that end last are among them."""

    def there() -> Spans:
        found = [span for span in spans_in(road) if span["trace_id"] == trace_id]
        names = [named(span) for span in found]
        return found if all(name in names for name in last) else []

    return await eventually(there, within_s=20)


def named(span: dict[str, Any]) -> str:
    """A span's name, and what it is about if several have the name."""
    event = span["attributes"].get("wanjet.event")
    return f"{span['name']} {event}" if event else span["name"]


def tree(spans: Spans, parent_id: str | None, depth: int = 0) -> list[str]:
    """The spans below a span as indented lines, in the order of their beginnings."""
    lines: list[str] = []
    for span in sorted((each for each in spans if each["parent_id"] == parent_id), key=lambda each: each["start"]):
        steps = len(span["events"])
        words = f"{'  ' * depth}{named(span)}" + (f" ({steps} steps)" if steps else "")
        lines += [f"{span['service']:17}  {words:50}{span['ms']:9.1f} ms", *tree(spans, span["span_id"], depth + 1)]
    return lines


def paths(lines: list[str]) -> set[tuple[str, ...]]:
    """The lines of a tree, each with all above it, without times and in no order: two processes work at once."""
    found: set[tuple[str, ...]] = set()
    above: list[str] = []
    for line in lines:
        service, words = line[:17].strip(), re.sub(r" +[0-9.]+ ms$", "", line[19:])
        depth = (len(words) - len(words.lstrip())) // 2
        above = [*above[:depth], f"{service}: {words.strip()}"]
        found.add(tuple(above))
    return found


def lines_about(job_id: str, process: Process) -> list[dict[str, Any]]:
    return [line for line in process.lines if line.get("job_id") == job_id]


async def submit(client: aiohttp.ClientSession, road: Road, url: str, **fields: Any) -> str:
    body = {"prompt": PROMPT, "image_url": url, "num_frames": 25, "infer_steps": STEPS, "image_size": SIZE, **fields}
    headers = {"traceparent": f"00-{TRACE}-{CLIENT}-01", "Idempotency-Key": PLANTED}
    async with client.post(f"{road.edge.url}/video/submit", json=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        return (await answer.json())["requestId"]


async def test_a_job_is_one_trace_with_all_its_parts(
    road: Road, client: aiohttp.ClientSession, picture_url: str
) -> None:
    job_id = await submit(client, road, picture_url)
    assert (await road.ended(client, job_id))["status"] == "Succeed"
    spans = await whole(road, TRACE, "fold JobSucceeded", "attempt")

    drawn = tree(spans, CLIENT)
    assert len(drawn) == len(spans), "a span whose parent is not in the trace"
    printed = next((block.text for block in blocks(REPOSITORY / PAGE) if "wait in queue" in block.text), "")
    seen, on_the_page = paths(drawn), paths(printed.splitlines())
    folded_with_the_start = {path for path in on_the_page if path[-1].endswith("fold JobSubmitted")}
    assert on_the_page - folded_with_the_start <= seen <= on_the_page, "\n".join(
        drawn
    )  # a late state folds both at once

    times = {span["name"]: span["ms"] for span in spans}
    stages = sum(times[name] for name in ("load", "encode", "denoise", "decode", "mux", "store"))
    assert stages <= times["attempt"]
    assert {span["attributes"].get("wanjet.job_id", job_id) for span in spans} == {job_id}
    assert PLANTED not in json.dumps(spans)

    await eventually(lambda: any(line["event"] == "status_ended" for line in lines_about(job_id, road.state)))
    for process in (road.edge, road.state, road.cluster):
        about = [line for line in lines_about(job_id, process) if line.get("route") != "/video/status/{job_id}"]
        assert about
        assert {line.get("trace_id") for line in about} == {TRACE}


async def test_an_attempt_that_goes_on_elsewhere_is_in_the_same_trace(
    road: Road, client: aiohttp.ClientSession
) -> None:
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 3)
    await road.replace_cluster()
    await road.ended(client, job_id)

    def of_job() -> Spans:
        found = [span for span in spans_in(road) if span["attributes"].get("wanjet.job_id") == job_id]
        return found if {"fold JobReleased", "fold JobSucceeded"} <= set(map(named, found)) else []

    def attempts() -> list[int]:
        return sorted(span["attributes"]["wanjet.attempt"] for span in of_job() if span["name"] == "attempt")

    await eventually(lambda: attempts() == [1, 2], within_s=20)
    assert len({span["trace_id"] for span in of_job()}) == 1
    assert [span["name"] for span in of_job()].count("wait in queue") == 1


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_a_poll_has_a_trace_of_its_own_and_a_probe_has_none(road: Road, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{road.edge.url}/readyz") as answer:
        assert answer.status == 200
    async with client.get(f"{road.edge.url}/video/status/{'0' * 32}") as answer:
        assert answer.status == 404

    def unknown() -> Spans:
        return [span for span in spans_in(road) if span["attributes"].get("http.response.status_code") == 404]

    (span,) = await eventually(unknown)
    assert (span["name"], span["parent_id"]) == ("GET /video/status/{job_id}", None)
    assert span["trace_id"] != TRACE
    assert "/readyz" not in json.dumps(spans_in(road))
