"""An edge whose certificate ends, has ended or is not valid yet: what it logs and counts, and that it serves."""

import datetime as dt
import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.edge.http.certificates import LOOKED_AT_EVERY_S
from services.edge.http.validity import LEFT_DAYS_MIN, validity_in
from tests.kit.broker import Broker
from tests.kit.certificates import Files, Pair, made
from tests.kit.edge import Edge
from tests.kit.scrape import read
from tests.kit.waiting import eventually

DAY = dt.timedelta(days=1)
WITHIN_S = 60
SOON, WRONG = "certificate_ends_soon", "certificate_not_valid"
SERVED = "wanjet_certificate_end_timestamp_seconds"

Start = Callable[[Pair], tuple[Edge, Files]]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start, None, None]:
    """Start an edge with a pair, without a broker. It is stopped at the end."""
    edges: list[Edge] = []

    def start(pair: Pair) -> tuple[Edge, Files]:
        files = Files(tmp_path, pair)
        edges.append(Edge(tmp_path, Broker(tmp_path), **files.variables))
        edges[-1].start()
        return edges[-1], files

    yield start
    for edge in edges:
        assert edge.stop() == 0, edge.text


def said(edge: Edge) -> list[dict[str, Any]]:
    """Return what an edge has logged of the dates of its certificate."""
    return [line for line in edge.lines if line["event"] in (SOON, WRONG)]


async def end_served(edge: Edge) -> float | None:
    """Return the end of the certificate that an edge counts with; None as long as it does not answer.

    The client believes in any certificate.
    """
    assert edge.alive, edge.text
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{edge.url}/metrics", ssl=False, headers={"Accept": "text/plain"}) as answer,
        ):
            return read(await answer.text()).value(SERVED)
    except aiohttp.ClientError:
        return None


async def serves_one_that_ends(edge: Edge, pair: Pair) -> None:
    """Wait until an edge counts with the end of this pair."""

    async def counted() -> bool:
        return await end_served(edge) == validity_in(pair.cert).ends

    await eventually(counted, within_s=WITHIN_S)


async def test_a_good_certificate_is_no_line_and_its_end_is_a_number(start: Start) -> None:
    pair = made(ends=DAY * (LEFT_DAYS_MIN + 1))
    edge, _ = start(pair)
    await serves_one_that_ends(edge, pair)
    assert said(edge) == []


async def test_one_that_ends_soon_is_one_warning_and_one_more_when_it_is_read_again(start: Start) -> None:
    pair, again = made(ends=DAY * (LEFT_DAYS_MIN - 1)), made(ends=DAY * 2)
    edge, files = start(pair)
    await serves_one_that_ends(edge, pair)
    (line,) = said(edge)
    assert (line["event"], line["level"], line["days_left"]) == (SOON, "warning", LEFT_DAYS_MIN - 1)
    files.replace(again)
    await serves_one_that_ends(edge, again)
    assert [line["days_left"] for line in await lines(edge, 2)] == [LEFT_DAYS_MIN - 1, 2]
    good = made()
    files.replace(good)
    await serves_one_that_ends(edge, good)
    assert len(said(edge)) == 2


async def lines(edge: Edge, count: int) -> list[dict[str, Any]]:
    """Wait until an edge has logged so many lines of its certificate, and return them."""
    await eventually(lambda: len(said(edge)) >= count, within_s=10 * LOOKED_AT_EVERY_S)
    return said(edge)


async def test_one_that_ends_as_it_is_served_is_an_error_from_then_on(start: Start) -> None:
    edge, _ = start(made(ends=dt.timedelta(seconds=8)))
    soon, over = await lines(edge, 2)
    assert (soon["event"], soon["days_left"]) == (SOON, 0)
    assert (over["event"], over["level"]) == (WRONG, "error")


@pytest.mark.parametrize(
    ("begins", "ends", "why"), [(-2 * DAY, -DAY, "that ended at"), (DAY, 9 * DAY, "that begins at")]
)
async def test_one_that_clients_refuse_is_served_and_said_so_by_the_name_of_its_variable(
    start: Start, begins: dt.timedelta, ends: dt.timedelta, why: str
) -> None:
    pair = made(begins=begins, ends=ends)
    edge, files = start(pair)
    await serves_one_that_ends(edge, pair)
    (line,) = said(edge)
    assert (line["event"], line["level"]) == (WRONG, "error")
    assert line["error"].startswith(f"TLS_CERT names a certificate {why} ")
    assert line["error"].endswith("; clients refuse it")
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await asked(edge, pair)
    renewed = made()
    files.replace(renewed)
    await serves_one_that_ends(edge, renewed)
    assert await asked(edge, renewed) == 200
    assert len(said(edge)) == 1


async def asked(edge: Edge, trusted: Pair) -> int:
    """Return the status for a client that trusts this certificate alone."""
    context = ssl.create_default_context(cadata=trusted.cert.decode())
    async with aiohttp.ClientSession() as client, client.get(f"{edge.url}/livez", ssl=context) as answer:
        return answer.status
