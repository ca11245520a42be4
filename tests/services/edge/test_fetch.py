import asyncio
import base64
import random
import resource
from collections import Counter
from collections.abc import AsyncGenerator
from ipaddress import ip_address, ip_network

import pytest

from services.edge.data_uri import BadDataUri, decode_data_uri
from services.edge.errors import Busy, ImageRefused, Overloaded
from services.edge.fetch import HOST_SHARE, HOST_WAITING_MAX, UNREACHABLE, Outbound
from services.edge.gate import Forbidden, Gate, customer_of
from services.edge.spool import Disk, Spool
from tests.conftest import eventually
from tests.services.edge.corpus import PNG, PUBLIC, Case, Internet, Names, at_port, cases, internet
from tests.services.edge.spooled import fetch, lowest_free_descriptor, normalise

PATIENCE_S = 1.0
GATE = Gate((), frozenset())


@pytest.fixture
async def web() -> AsyncGenerator[Internet, None]:
    async with internet() as web:
        yield web


def outbound(web: Internet, names: Names) -> Outbound:
    """As in production, but for the names, the one allowed address, and less patience."""
    return Outbound(
        allowed_networks=(ip_network(f"{PUBLIC}/32"),),
        allowed_ports=frozenset({web.port}),
        lookup=names.look_up,
        within_s=PATIENCE_S,
    )


@pytest.mark.parametrize("case", cases("url"), ids=lambda case: case.name)
async def test_a_url_of_the_corpus_gets_its_verdict_and_reaches_no_canary(case: Case, web: Internet) -> None:
    async with outbound(web, Names(case)) as gate:
        try:
            await normalise(await fetch(gate, at_port(case.url, web.port)))
            verdict = "accept"
        except ImageRefused:
            verdict = "reject"
    assert (verdict, web.reached) == (case.expect, [])


async def test_what_is_forbidden_unreachable_or_too_slow_looks_the_same_from_outside(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC], "gone.test": []}))
    texts: set[str] = set()
    async with outbound(web, names) as gate:
        for url in ("http://127.0.0.1/", "http://gone.test/", f"http://img.test:{web.port}/hang"):
            with pytest.raises(ImageRefused) as refusal:
                await fetch(gate, url)
            texts.add(str(refusal.value))
    assert texts == {UNREACHABLE}


async def test_a_body_without_end_is_cut_off(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    async with outbound(web, names) as gate:
        with pytest.raises(ImageRefused, match="20 MB"):
            await fetch(gate, f"http://img.test:{web.port}/endless")


async def test_three_redirects_are_followed_and_the_fragment_stays_here(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    here = f"http://img.test:{web.port}"
    async with outbound(web, names) as gate:
        url = f"{here}/redir?to={here}/redir%3Fto={here}/ok.png%23part"
        assert await fetch(gate, url) == PNG
    assert web.paths[-1] == "/ok.png"
    assert len(web.paths) == 3


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "223.255.255.254", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"],
)
def test_public_addresses_pass(address: str) -> None:
    GATE.check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.31.0.1", "192.0.0.8",
        "192.168.1.1", "198.19.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1",
        "fe80::1", "fec0::1", "ff02::1", "100::1", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_other_addresses_do_not(address: str) -> None:
    with pytest.raises(Forbidden):
        GATE.check_address(address)


def test_nothing_passes_that_python_itself_calls_private() -> None:
    draw = random.Random(1)
    for _ in range(20_000):
        address = ip_address(draw.getrandbits(32))
        try:
            GATE.check_address(str(address))
        except Forbidden:
            continue
        assert address.is_global
        assert not address.is_multicast


def test_an_operator_may_allow_a_network() -> None:
    Gate((ip_network("10.0.0.0/8"),), frozenset()).check_address("::ffff:10.1.2.3")
    with pytest.raises(Forbidden):
        Gate((ip_network("10.0.0.0/8"),), frozenset()).check_address("192.168.0.1")


def test_a_data_uri_is_decoded_strictly() -> None:
    text = base64.b64encode(b"abc")
    assert decode_data_uri(b"data:image/png;base64," + text) == b"abc"
    assert decode_data_uri(b"DATA:image/jpeg;BASE64," + text) == b"abc"
    for wrong in (
        b"data:text/html;base64," + text,
        b"data:image/png," + text,
        b"data:image/png;base64,a b=",
        "data:image/png;base64,猫".encode(),
        b"data:",
    ):
        with pytest.raises(BadDataUri):
            decode_data_uri(wrong)


async def test_a_silent_server_holds_up_its_own_pictures_alone_whatever_it_is_called(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={f"{name}.test": [PUBLIC] for name in ("a", "b")}))
    async with Outbound(
        allowed_networks=(ip_network("127.0.0.0/8"),), allowed_ports=frozenset({web.port}), lookup=names.look_up
    ) as gate:
        silent = [
            asyncio.create_task(fetch(gate, f"http://{'ab'[number % 2]}.test:{web.port}/hang"))
            for number in range(HOST_SHARE + HOST_WAITING_MAX)
        ]
        await eventually(lambda: web.paths.count("/hang") == HOST_SHARE)
        with pytest.raises(Overloaded):
            await asyncio.gather(*(fetch(gate, f"http://{name}.test:{web.port}/ok.png") for name in "ab"))
        assert web.paths.count("/hang") == HOST_SHARE
        assert await fetch(gate, f"http://127.0.0.1:{web.port}/ok.png") == PNG
        for task in silent:
            task.cancel()
        await asyncio.wait(silent)


async def test_a_turn_that_does_not_come_is_a_load_and_no_fault_of_the_address(
    web: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.edge.fetch.TURN_WITHIN_S", 0.05)
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    async with outbound(web, names) as gate:
        urls = [f"http://img.test:{web.port}/hang"] * (HOST_SHARE + 2)
        ends = await asyncio.gather(*(fetch(gate, url) for url in urls), return_exceptions=True)
    assert Counter(type(end) for end in ends) == {ImageRefused: HOST_SHARE, Overloaded: 2}


async def test_the_time_of_a_fetch_does_not_pass_while_it_waits_for_its_turn(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    here = f"http://img.test:{web.port}"
    async with outbound(web, names) as gate:
        silent = [asyncio.create_task(fetch(gate, f"{here}/hang")) for _ in range(2 * HOST_SHARE)]  # twice the patience
        await eventually(lambda: web.paths.count("/hang") >= HOST_SHARE)
        assert await fetch(gate, f"{here}/ok.png") == PNG
        await asyncio.wait(silent)


async def test_no_look_for_room_and_no_fetch_before_the_turn(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    looked = 0

    async def refuse() -> None:
        nonlocal looked
        looked += 1
        raise Busy(5, 5, 10)

    async with outbound(web, names) as gate:
        with pytest.raises(Busy):
            await fetch(gate, f"http://img.test:{web.port}/ok.png", refuse)
    assert (looked, web.paths) == (1, [])


async def test_where_no_socket_can_be_had_nothing_is_said_against_the_address(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with outbound(web, names) as gate:
        assert await fetch(gate, f"http://img.test:{web.port}/ok.png") == PNG
        with Spool(Disk()) as picture:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor(), limits[1]))
            try:
                with pytest.raises(Overloaded):
                    await gate.fetch(f"http://img.test:{web.port}/ok.png", picture)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
def test_who_has_an_address(one: str, other: str, same: bool) -> None:
    assert (customer_of(one) == customer_of(other)) is same
