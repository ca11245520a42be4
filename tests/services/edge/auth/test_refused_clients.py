"""The line of a request that a connection refuses by itself names the client, as all other lines do."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.kit.broker import Broker
from tests.kit.waiting import eventually
from tests.services.edge.talk import Impatient, talk

CLIENT, PEER = "192.0.2.7", "127.0.0.1"
NAMED = f"Host: a\r\nX-Forwarded-For: {CLIENT}\r\n".encode()
GOOD = b"GET /livez HTTP/1.1\r\n" + NAMED + b"\r\n"
Start = Callable[[str], Impatient]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start, None, None]:
    """Start an edge that trusts these proxies, without a broker. It is stopped at the end."""
    edges: list[Impatient] = []

    def start(trusted: str) -> Impatient:
        edges.append(Impatient(tmp_path, Broker(tmp_path), TRUSTED_PROXIES=trusted))
        edges[-1].start()
        return edges[-1]

    yield start
    for edge in edges:
        assert edge.stop() == 0, edge.text


@pytest.mark.parametrize(
    ("trusted", "said", "client"),
    [
        ("127.0.0.0/8", b"GET /livez HTTP/1.1\r\n" + NAMED + b"Host: b\r\n\r\n", CLIENT),
        ("127.0.0.0/8", GOOD + b"GET /livez HTTP/1.1\r\n" + NAMED + b"Host: b\r\n\r\n", CLIENT),
        ("127.0.0.0/8", b"POST /x HTTP/1.1\r\n" + NAMED + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", CLIENT),
        ("127.0.0.0/8", b"GET /livez HTTP/1.1\r\n" + NAMED + b"no header\r\n\r\n", PEER),
        ("127.0.0.0/8", GOOD + b"no request\r\n\r\n", PEER),
        ("10.0.0.0/8", b"GET /livez HTTP/1.1\r\n" + NAMED + b"Host: b\r\n\r\n", PEER),
        ("", b"GET /livez HTTP/1.1\r\n" + NAMED + b"Host: b\r\n\r\n", PEER),
    ],
    ids=["two hosts", "after another request", "no chunk", "half a head", "no head", "no proxy of ours", "no proxies"],
)
async def test_a_refused_request_is_its_clients_if_a_trusted_proxy_has_sent_a_whole_head(
    start: Start, trusted: str, said: bytes, client: str
) -> None:
    edge = start(trusted)

    async def refused() -> list[str]:
        assert edge.alive, edge.text
        return [line["client"] for line in edge.lines if line["event"] == "request_refused"]

    async def spoken() -> bool:
        try:
            async with talk(edge) as connection:
                await connection.say(said)
                await connection.rest()
        except ConnectionRefusedError:
            assert edge.alive, edge.text
            return False
        return True

    await eventually(spoken, within_s=60)
    assert await eventually(refused) == [client]
