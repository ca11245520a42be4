"""The URL corpus through a running edge, in a network of its own: `unshare --net --mount python -m …namespace`.

Whoever runs this has a fresh, empty network: loopback is brought up, the forbidden addresses are put on it with a
canary on each, and a small name server answers as each case says. Prints one JSON line of what was seen.
"""

import asyncio
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec

from contracts import subjects
from contracts.broker import bus
from ops import provision
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge, submit
from tests.services.edge.apart import run_apart
from tests.services.edge.corpus import PNG, PUBLIC, Case, Internet, cases, serve_case

FORBIDDEN = ("127.0.0.1", "::1", "169.254.169.254", "10.0.0.5")
CANARY_PORTS = (80, 443, 4222, 8222)
NAME_SERVER = "127.0.0.53"
A_RECORD, ANSWER_TTL_S, NO_SUCH_NAME = 1, 0, 3
PATIENCE_S = 3.0


class NameServer(asyncio.DatagramProtocol):
    """Answers A questions with the case's IPv4 addresses, one look-up after the other; all else is unknown."""

    def __init__(self) -> None:
        self.case: dict[str, list[Any]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += length + 1
        kind = struct.unpack("!H", data[at + 1 : at + 3])[0]
        addresses = self._answers(".".join(labels)) if kind == A_RECORD else []
        question = data[12 : at + 5]
        flags = 0x8180 if addresses or kind != A_RECORD else 0x8180 | NO_SUCH_NAME
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", A_RECORD, 1, ANSWER_TTL_S, 4) + socket.inet_aton(address)
            for address in addresses
        )
        self._transport.sendto(head + question + records, addr)

    def _answers(self, host: str) -> list[str]:
        answers = self.case.get(host) or []
        if answers and isinstance(answers[0], list):
            answers = answers.pop(0) if len(answers) > 1 else answers[0]
        return [address for address in answers if ":" not in address]


def prepare_network() -> None:
    for command in (
        "ip link set lo up",
        "ip address add 169.254.169.254/32 dev lo",
        "ip address add 10.0.0.5/32 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
        file.write(f"nameserver {NAME_SERVER}\noptions attempts:1 timeout:1\n")
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    Path(file.name).unlink()


async def run(folder: Path, broker: Broker) -> dict[str, Any]:
    web = Internet()
    web.port = 80
    names = NameServer()
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: names, local_addr=(NAME_SERVER, 53))
    servers = [await asyncio.start_server(serve_case(web), PUBLIC, port) for port in (80, 443)]
    for host in FORBIDDEN:
        servers += [await asyncio.start_server(canary(web, host), host, port) for port in CANARY_PORTS]
    edge = Edge(folder, broker, OUTBOUND_ALLOWED_NETWORKS=f"{PUBLIC}/32")
    edge.start()
    try:
        async with (
            auth.client_session(trust_env=False) as client,
            bus.connect(broker.url, name="test") as link,
        ):
            settings = provision.Settings(nats_url=broker.url, max_concurrent_tasks=500)
            await provision.provision(link, settings)
            await edge.ready(client)
            quick = [case for case in cases("url") if not keeps_waiting(case)]
            slow = [case for case in cases("url") if keeps_waiting(case)]  # at once: they share their names
            answers = [(case, await answer(client, edge, names, case)) for case in quick]
            waited = await asyncio.gather(*(answer(client, edge, names, case) for case in slow))
            answers += zip(slow, waited, strict=True)
            reached = list(web.reached)
            stored = (await link.stream(subjects.JOBS_STREAM)).state.messages
        return {
            "cases": len(answers),
            "accepted": sum(status == 202 for _, status in answers),
            "mismatches": [
                [case.name, status] for case, status in answers if status != (202 if case.expect == "accept" else 400)
            ],
            "canaries_reached": reached,
            "jobs_stored": stored,
            "plain_fetch_reached": await plain_fetches(web, names),
        }
    finally:
        edge.stop()
        for server in servers:
            server.close()


def canary(web: Internet, host: str) -> Any:
    async def reached(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.reached.append(host)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)
        writer.close()

    return reached


async def answer(client: aiohttp.ClientSession, edge: Edge, names: NameServer, case: Case) -> int:
    names.case = msgspec.json.decode(msgspec.json.encode(case.resolve or {}))
    status, _ = await submit(client, edge, image_url=case.url)
    return status


def keeps_waiting(case: Case) -> bool:
    return case.url.endswith(("/slow-head", "/slow-body", "/hang", "/big-cl", "/switch"))


async def plain_fetches(web: Internet, names: NameServer) -> int:
    """Return how many of the URLs lead an unchecked fetch to a canary."""
    hits = 0
    for case in cases("url"):
        names.case = msgspec.json.decode(msgspec.json.encode(case.resolve or {}))
        before = len(web.reached)
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session,
                session.get(case.url) as response,
            ):
                await response.read()
        except Exception:  # noqa: BLE001, S110  # hostile URLs break it in many ways, assertions among them
            pass
        hits += len(web.reached) > before
    return hits


if __name__ == "__main__":
    prepare_network()
    run_apart(run)
