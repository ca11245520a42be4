"""A reader that stops reading: it is told to come again, costs no memory, and is cut off after a while."""

import asyncio
import socket
import time
from collections.abc import Callable

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import following, life, parsed, publish, rss_kb, steps
from tests.services.edge.talk import CUT_WITHIN_S, Impatient, get

EVENTS = 8000
SIDE_BY_SIDE = 50
GROWTH_KB_MAX = 2 * 1024
RESYNC_WITHIN_S = 5.0


def deaf_socket(edge: Edge) -> socket.socket:
    """Return a connection with little room for what it does not read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", edge.port))
    made.setblocking(False)
    return made


async def flood(link: Bus) -> None:
    """Publish more events than buffers hold, many at a time."""
    for first in range(1, EVENTS, SIDE_BY_SIDE):
        await asyncio.gather(*(publish(link, steps(ID, first + at, 1)) for at in range(SIDE_BY_SIDE)))


@pytest.mark.timeout(120)
async def test_a_reader_that_stalls_costs_no_memory_and_is_told_to_come_again(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, life(ID)[:1])
    loop = asyncio.get_running_loop()
    with deaf_socket(edge) as stalled:
        await loop.sock_sendall(stalled, get(f"/video/events/{ID}"))
        async with following(client, edge, ID) as quick:
            await quick.event()
            flooding = asyncio.create_task(flood(link))
            ids = [(await quick.event()).id for _ in range(EVENTS // 2)]
            before = rss_kb(edge.pid)  # the stalled reader's buffers are full
            ids += [(await quick.event()).id for _ in range(EVENTS // 2)]
            await flooding
            growth = rss_kb(edge.pid) - before
        assert growth < GROWTH_KB_MAX, growth
        heard = b""
        began = time.monotonic()
        while not heard.endswith(b"\r\n0\r\n\r\n"):
            heard += await asyncio.wait_for(loop.sock_recv(stalled, 65536), RESYNC_WITHIN_S)
        resync_s = time.monotonic() - began
    blocks = [parsed(b"id: " + part.partition(b"\n\n")[0]) for part in heard.split(b"\nid: ")[1:]]
    seen = [block.id for block in blocks]
    assert b"event: resync" in heard
    assert resync_s < RESYNC_WITHIN_S
    stored = [message.sequence for message in await link.read(subjects.EVENTS_STREAM, subjects.events_of(ID))]
    assert stored[1:] == ids
    assert 0 < len(seen) < EVENTS
    last = max(number for number in seen if number is not None)
    async with following(client, edge, ID, last=last) as again:
        assert (await again.event()).id == stored[stored.index(last) + 1]
    print(  # noqa: T201  # the figures
        f"a stalled reader: {growth} kB more in the second {EVENTS // 2} events, {len(seen)} events sent, "
        f"resync in {resync_s:.3f} s"
    )


@pytest.mark.timeout(120)
async def test_a_reader_that_never_reads_on_is_cut_off(
    client: aiohttp.ClientSession, broker: Broker, link: Bus, tmp_path: object, edges: Callable[..., Edge]
) -> None:
    edge = Impatient(tmp_path, broker)  # pyright: ignore[reportArgumentType]
    edge.start()
    try:
        await edge.ready(client)
        await publish(link, life(ID)[:1])
        with deaf_socket(edge) as stalled:
            await asyncio.get_running_loop().sock_sendall(stalled, get(f"/video/events/{ID}"))
            await flood(link)
            await eventually(
                lambda: [line for line in edge.lines if line.get("route") == "/video/events/{job_id}"],
                within_s=CUT_WITHIN_S,
            )
    finally:
        assert edge.stop() == 0
