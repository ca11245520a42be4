"""The port on which a process serves its metrics: what it answers, and what nobody can do to it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator

import aiohttp
import pytest

from contracts.process import metrics_port
from contracts.process.env import BadSetting
from contracts.process.metrics import Metrics
from tests.kit.machine import free_port
from tests.kit.waiting import eventually


class Looks:
    """Counts the looks before an answer, and fails when told to."""

    def __init__(self) -> None:
        self.count, self.fails = 0, False

    async def look(self) -> None:
        self.count += 1
        if self.fails:
            raise RuntimeError


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
async def port(looks: Looks) -> AsyncGenerator[int, None]:
    port, metrics = free_port(), Metrics()
    metrics.gauge("wanjet_looks", "Looks.", by=lambda: looks.count)
    async with metrics_port.serving(metrics_port.opened("127.0.0.1", port), metrics, looks.look):
        yield port


async def asked(port: int, head: bytes) -> bytes:
    """Send a head, and return all that comes until the connection ends, nothing if it is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_prometheus_gets_its_text_and_each_answer_looks_first(port: int) -> None:
    async with aiohttp.ClientSession() as client:
        for count, accept in ((1, "text/plain"), (2, "application/openmetrics-text")):
            async with client.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}) as answer:
                assert answer.status == 200
                assert answer.content_type == accept
                assert answer.charset == "utf-8"
                assert f"wanjet_looks {count}.0\n" in await answer.text()
        async with client.head(f"http://127.0.0.1:{port}/metrics?x=1") as answer:
            assert answer.status == 200
            assert int(answer.headers["Content-Length"]) > 100


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"\r\n\r\n", b"404"),
        (b"GET /metrics\r\n\r\n", b"200"),
    ],
)
async def test_everything_else_is_refused(port: int, head: bytes, status: bytes) -> None:
    assert (await asked(port, head)).split(b" ", 2)[1] == status


async def test_a_look_that_fails_is_a_500_that_says_nothing_and_the_next_answer_comes(
    port: int, looks: Looks, capsys: pytest.CaptureFixture[str]
) -> None:
    looks.fails = True
    answer = await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"RuntimeError" not in answer
    assert "metrics_not_served" in capsys.readouterr().out
    looks.fails = False
    assert (await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_without_end_gets_no_memory_and_one_that_does_not_come_gets_no_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await asked(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * metrics_port.HEAD_BYTES_MAX)) == b""
    monkeypatch.setattr(metrics_port, "HEAD_WITHIN_S", 0.2)
    assert await asked(port, b"GET /metrics HTTP/1.1\r\n") == b""


async def test_connections_beyond_the_limit_are_dropped_and_none_is_lost_for_good(port: int) -> None:
    async with contextlib.AsyncExitStack() as open_ones:
        for _ in range(metrics_port.CONNECTIONS_MAX):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            open_ones.callback(writer.close)

        async def is_dropped() -> bool:
            return await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b""

        await eventually(is_dropped)

    async def is_served() -> bool:
        return (await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    await eventually(is_served)


def test_a_taken_port_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=rf"127\.0\.0\.1:{port} .* set METRICS_PORT to another one"):
            metrics_port.opened("127.0.0.1", port)


async def test_port_0_serves_nothing() -> None:
    async with metrics_port.serving(metrics_port.opened("127.0.0.1", 0), Metrics()):
        pass
