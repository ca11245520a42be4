import base64
import random
from collections.abc import AsyncGenerator
from ipaddress import ip_address, ip_network

import pytest

from services.edge.data_uri import BadDataUri, decode_data_uri
from services.edge.errors import ImageRefused
from services.edge.fetch import UNREACHABLE, Outbound
from services.edge.gate import Forbidden, Gate
from tests.services.edge.corpus import PNG, PUBLIC, Case, Internet, Names, at_port, cases, internet
from tests.services.edge.spooled import fetch, normalise

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
