import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from contracts.outbound import resolver
from contracts.outbound.overloaded import Overloaded
from contracts.outbound.resolver import ZONE_SHARE, ZONE_WAITING_MAX, Resolver, zone
from tests.kit.waiting import eventually
from tests.services.edge.apart import AVAILABLE, seen_apart
from tests.services.edge.name_server import SILENT, NameServer

NAMESPACE_WITHIN_S = 110
ZONES = {"good.test": ["192.0.2.7", "2001:db8::7"], "slow.test": SILENT}


@pytest.fixture
async def server() -> AsyncGenerator[NameServer, None]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(ZONES), local_addr=("127.0.0.1", 0)
    )
    yield server
    transport.close()


def at(server: NameServer) -> Resolver:
    port: int = server._transport.get_extra_info("sockname")[1]
    return Resolver(servers=["127.0.0.1"], udp_port=port, tcp_port=port)


async def test_a_name_has_its_addresses_of_both_families(server: NameServer) -> None:
    async with at(server) as all_names:
        assert set(await all_names.look_up("www.good.test")) == {"192.0.2.7", "2001:db8::7"}


async def test_a_name_that_does_not_exist_is_an_error_of_its_own(server: NameServer) -> None:
    async with at(server) as all_names:
        with pytest.raises(OSError, match="no address"):
            await all_names.look_up("nowhere.test")


async def test_the_hosts_file_counts(server: NameServer) -> None:
    """Ask no server for a name that stands in the hosts file, as the system's resolver does."""
    name = next((name for name in hosts() if "." in name), None)
    async with at(server) as all_names:
        assert await all_names.look_up(name or "localhost")
    assert server.asked == []


def hosts() -> list[str]:
    with Path("/etc/hosts").open() as file:
        return [name for line in file if not line.startswith("#") for name in line.split()[1:]]


async def test_a_silent_name_server_delays_its_own_names_alone(server: NameServer) -> None:
    async with at(server) as all_names:
        slow = [asyncio.create_task(all_names.look_up(f"{number}.slow.test")) for number in range(ZONE_SHARE)]
        await eventually(lambda: sum(name.endswith("slow.test") for name in server.asked) >= ZONE_SHARE)
        assert await all_names.look_up("www.good.test")
        assert not any(task.done() for task in slow)
        ends = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(end, OSError) for end in ends)


async def test_look_ups_of_one_zone_are_bounded_and_beyond_it_the_edge_is_overloaded(server: NameServer) -> None:
    async with at(server) as all_names:
        slow = [
            asyncio.create_task(all_names.look_up(f"{number}.slow.test"))
            for number in range(ZONE_SHARE + ZONE_WAITING_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await all_names.look_up("one-more.slow.test")
        assert await all_names.look_up("www.good.test")
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)


async def test_look_ups_end_at_once_with_the_block_and_hold_no_threads(server: NameServer) -> None:
    before = threading.active_count()
    async with at(server) as all_names:
        slow = [asyncio.create_task(all_names.look_up(f"{number}.slow.test")) for number in range(ZONE_SHARE)]
        await eventually(lambda: len(server.asked) >= ZONE_SHARE)
        assert threading.active_count() <= before + 2  # c-ares has one, and one to close with
        began = time.monotonic()
    assert time.monotonic() - began < resolver.LOOK_UP_WITHIN_S / 2
    ends = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(end, OSError) for end in ends)


async def test_a_resolver_that_is_not_there_says_nothing_against_a_name() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with Resolver(servers=["127.0.0.1"], udp_port=port, tcp_port=port) as all_names:
        with pytest.raises(Overloaded):
            await all_names.look_up("www.good.test")


@pytest.mark.parametrize(
    ("host", "registered"),
    [
        ("a.b.example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("a.b.co.uk", "b.co.uk"),
        ("x.com.au", "x.com.au"),
        ("a.de", "a.de"),
        ("a.bcdf.de", "bcdf.de"),
        ("a.b.example.org.", "example.org"),
        ("a.b.co.uk.", "b.co.uk"),
    ],
)
def test_the_part_of_a_name_that_somebody_has_registered(host: str, registered: str) -> None:
    assert zone(host) == registered


@pytest.mark.skipif(not AVAILABLE, reason="NOT RUN: a resolver of its own needs root and unshare")
def test_a_silent_zone_holds_up_no_other_submission_and_no_end_of_an_edge() -> None:
    seen = seen_apart("tests.services.edge.silent_zone", within_s=NAMESPACE_WITHIN_S)
    assert set(seen["good"]) == {"202"}
    assert seen["slowest_good_s"] < 10
    assert set(seen["hostile"]) <= {"400", "503"}
    assert seen["missing"] == 400
    assert seen["slowest_status_s"] < 2
    assert seen["end_s"] < 25
