"""A small DNS server: answers A and AAAA questions from a table, and is silent where the table says so."""

import asyncio
import socket
import struct
from typing import cast

A, AAAA, ANSWER_TTL_S, NO_SUCH_NAME = 1, 28, 0, 3
SILENT: list[str] = ["silent"]


class NameServer(asyncio.DatagramProtocol):
    """`zones` maps a name, or the end of one, to addresses; `SILENT` in their place gets no answer."""

    def __init__(self, zones: dict[str, list[str]]) -> None:
        self.zones = zones
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = list[str](), 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += length + 1
        kind = struct.unpack("!H", data[at + 1 : at + 3])[0]
        name = ".".join(labels).lower()
        self.asked.append(name)
        known = next((found for end, found in self.zones.items() if name == end or name.endswith(f".{end}")), None)
        if known is not SILENT:
            self._transport.sendto(_answer(data, data[12 : at + 5], kind, known), addr)


def _answer(data: bytes, question: bytes, kind: int, known: list[str] | None) -> bytes:
    family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(kind)
    packed = [socket.inet_pton(family, one) for one in known or [] if family and (":" in one) == (kind == AAAA)]
    flags = 0x8180 if known is not None else 0x8180 | NO_SUCH_NAME
    head = data[:2] + struct.pack("!HHHHH", flags, 1, len(packed), 0, 0)
    records = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ANSWER_TTL_S, len(address)) + address for address in packed
    )
    return head + question + records
