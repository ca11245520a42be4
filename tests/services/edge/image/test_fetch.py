import asyncio
import random
import resource
from collections import Counter
from collections.abc import AsyncGenerator
from ipaddress import ip_address, ip_network
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from contracts.outbound.about import project
from contracts.outbound.url_policy import Forbidden, UrlPolicy, owner_key
from services.edge.errors import Busy, ImageRefused, Overloaded
from services.edge.image.fetch import HOST_SHARE, HOST_WAITING_MAX, REDIRECTS_MAX, UNREACHABLE, ImageFetcher
from services.edge.resources.spool import Disk, Spool
from tests.kit.waiting import eventually
from tests.services.edge.corpus import PNG, PUBLIC, Case, Internet, Names, at_port, cases, internet
from tests.services.edge.spooled import fetch, lowest_free_descriptor, normalise

pytestmark = pytest.mark.slow  # many wait for a deadline

PATIENCE_S = 1.0
POLICY = UrlPolicy((), frozenset())


@pytest.fixture
async def web() -> AsyncGenerator[Internet, None]:
    async with internet() as web:
        yield web


def image_fetcher(web: Internet, names: Names) -> ImageFetcher:
    """Return a fetcher like production's, except for the resolver, one allowed address, and shorter limits."""
    return ImageFetcher(
        allowed_networks=(ip_network(f"{PUBLIC}/32"),),
        allowed_ports=frozenset({web.port}),
        lookup=names.look_up,
        within_s=PATIENCE_S,
    )


@pytest.mark.parametrize("case", cases("url"), ids=lambda case: case.name)
async def test_a_url_of_the_corpus_gets_its_verdict_and_reaches_no_canary(case: Case, web: Internet) -> None:
    async with image_fetcher(web, Names(case)) as fetcher:
        try:
            await normalise(await fetch(fetcher, at_port(case.url, web.port)))
            verdict = "accept"
        except ImageRefused:
            verdict = "reject"
    assert (verdict, web.reached) == (case.expect, [])


async def test_what_is_forbidden_unreachable_or_too_slow_looks_the_same_from_outside(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC], "gone.test": []}))
    texts: set[str] = set()
    async with image_fetcher(web, names) as fetcher:
        for url in ("http://127.0.0.1/", "http://gone.test/", f"http://img.test:{web.port}/hang"):
            with pytest.raises(ImageRefused) as refusal:
                await fetch(fetcher, url)
            texts.add(str(refusal.value))
    assert texts == {UNREACHABLE}


async def test_a_body_without_end_is_cut_off(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    async with image_fetcher(web, names) as fetcher:
        with pytest.raises(ImageRefused, match="20 MB"):
            await fetch(fetcher, f"http://img.test:{web.port}/endless")


async def test_ten_redirects_are_followed_and_no_more(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    here = f"http://img.test:{web.port}"
    url = f"{here}/ok.png#part"
    async with image_fetcher(web, names) as fetcher:
        for _ in range(REDIRECTS_MAX):
            url = f"{here}/redir?to={quote(url, safe='')}"
        assert await fetch(fetcher, url) == PNG
        assert (web.paths[-1], len(web.paths)) == ("/ok.png", REDIRECTS_MAX + 1)  # the fragment stays here
        with pytest.raises(ImageRefused, match="more than 10 times"):
            await fetch(fetcher, f"{here}/redir?to={quote(url, safe='')}")


async def test_an_address_of_8192_characters_is_fetched_also_behind_a_redirect(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    here = f"http://img.test:{web.port}"
    async with image_fetcher(web, names) as fetcher:
        signed = f"{here}/ok.png?X-Amz-Security-Token=%2F"
        longest = signed + "a" * (8192 - len(signed))
        assert await fetch(fetcher, longest) == PNG
        assert web.paths[-1] == longest.removeprefix(here)  # byte for byte as it was signed
        behind = f"{here}/redir?to={signed}"
        assert await fetch(fetcher, behind + "a" * (8192 - len(behind))) == PNG
        with pytest.raises(ImageRefused, match="it has 8193 characters; an address may have 8192"):
            await fetch(fetcher, longest + "a")


async def test_a_name_without_dots_is_looked_up_only_where_a_network_is_allowed(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"minio": [PUBLIC, "::1"], "other": ["127.0.0.1", "::1"]}))
    async with image_fetcher(web, names) as fetcher:
        assert await fetch(fetcher, f"http://minio:{web.port}/ok.png") == PNG  # by the address that is allowed
        with pytest.raises(ImageRefused) as refusal:
            await fetch(fetcher, f"http://other:{web.port}/ok.png")
        assert str(refusal.value) == UNREACHABLE
    async with ImageFetcher(allowed_ports=frozenset({web.port}), lookup=names.look_up) as fetcher:
        with capture_logs() as lines, pytest.raises(ImageRefused) as refusal:
            await fetch(fetcher, f"http://minio:{web.port}/ok.png")
    assert str(refusal.value) == UNREACHABLE
    assert lines[0]["allowed_by"] == "OUTBOUND_ALLOWED_NETWORKS"
    assert web.reached == []


async def test_localhost_is_one_of_the_names_that_a_network_can_allow(web: Internet) -> None:
    async with ImageFetcher(
        allowed_networks=(ip_network(f"{PUBLIC}/8", strict=False),), allowed_ports=frozenset({web.port})
    ) as fetcher:
        assert await fetch(fetcher, f"http://localhost:{web.port}/ok.png") == PNG
    assert all("127.0.0.1" in reached for reached in web.reached)


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("http://10.0.0.1/a.png", "OUTBOUND_ALLOWED_NETWORKS"),
        ("http://evil.test/a.png", "OUTBOUND_ALLOWED_NETWORKS"),
        ("http://img.test:9000/a.png", "OUTBOUND_ALLOWED_PORTS"),
    ],
)
async def test_the_log_names_the_setting_that_would_allow_an_address(web: Internet, url: str, setting: str) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC], "evil.test": ["192.168.0.9"]}))
    async with image_fetcher(web, names) as fetcher:
        with capture_logs() as lines, pytest.raises(ImageRefused) as refusal:
            await fetch(fetcher, url)
    assert str(refusal.value) == UNREACHABLE
    assert [line["allowed_by"] for line in lines] == [setting]


async def test_a_fetch_says_who_we_are_and_how_to_reach_us(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    for contact, agent in (("pictures@example.org", "(+pictures@example.org)"), (None, f"(+{project().address})")):
        async with ImageFetcher(
            allowed_networks=(ip_network(f"{PUBLIC}/32"),),
            allowed_ports=frozenset({web.port}),
            contact=contact,
            lookup=names.look_up,
        ) as fetcher:
            await fetch(fetcher, f"http://img.test:{web.port}/ok.png")
        assert f"User-Agent: WanJet/{project().version} {agent}\r\n".encode() in web.heads[-1]


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "223.255.255.254", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"],
)
def test_public_addresses_pass(address: str) -> None:
    POLICY.check_address(address)


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
        POLICY.check_address(address)


def test_nothing_passes_that_python_itself_calls_private() -> None:
    draw = random.Random(1)
    for _ in range(20_000):
        address = ip_address(draw.getrandbits(32))
        try:
            POLICY.check_address(str(address))
        except Forbidden:
            continue
        assert address.is_global
        assert not address.is_multicast


def test_an_operator_may_allow_a_network() -> None:
    UrlPolicy((ip_network("10.0.0.0/8"),), frozenset()).check_address("::ffff:10.1.2.3")
    with pytest.raises(Forbidden):
        UrlPolicy((ip_network("10.0.0.0/8"),), frozenset()).check_address("192.168.0.1")


async def test_a_silent_server_holds_up_its_own_pictures_alone_whatever_it_is_called(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={f"{name}.test": [PUBLIC] for name in ("a", "b")}))
    async with ImageFetcher(
        allowed_networks=(ip_network("127.0.0.0/8"),), allowed_ports=frozenset({web.port}), lookup=names.look_up
    ) as fetcher:
        silent = [
            asyncio.create_task(fetch(fetcher, f"http://{'ab'[number % 2]}.test:{web.port}/hang"))
            for number in range(HOST_SHARE + HOST_WAITING_MAX)
        ]
        await eventually(lambda: web.paths.count("/hang") == HOST_SHARE)
        with pytest.raises(Overloaded):
            await asyncio.gather(*(fetch(fetcher, f"http://{name}.test:{web.port}/ok.png") for name in "ab"))
        assert web.paths.count("/hang") == HOST_SHARE
        assert await fetch(fetcher, f"http://127.0.0.1:{web.port}/ok.png") == PNG
        for task in silent:
            task.cancel()
        await asyncio.wait(silent)


async def test_a_turn_that_does_not_come_is_a_load_and_no_fault_of_the_address(
    web: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.edge.image.fetch.TURN_WITHIN_S", 0.05)
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    async with image_fetcher(web, names) as fetcher:
        urls = [f"http://img.test:{web.port}/hang"] * (HOST_SHARE + 2)
        ends = await asyncio.gather(*(fetch(fetcher, url) for url in urls), return_exceptions=True)
    assert Counter(type(end) for end in ends) == {ImageRefused: HOST_SHARE, Overloaded: 2}


async def test_the_time_of_a_fetch_does_not_pass_while_it_waits_for_its_turn(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    here = f"http://img.test:{web.port}"
    async with image_fetcher(web, names) as fetcher:
        silent = [asyncio.create_task(fetch(fetcher, f"{here}/hang")) for _ in range(2 * HOST_SHARE)]
        await eventually(lambda: web.paths.count("/hang") >= HOST_SHARE)
        assert await fetch(fetcher, f"{here}/ok.png") == PNG
        await asyncio.gather(*silent, return_exceptions=True)


async def test_no_look_for_room_and_no_fetch_before_the_turn(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    looked = 0

    async def refuse() -> None:
        nonlocal looked
        looked += 1
        raise Busy(5, 5, 10)

    async with image_fetcher(web, names) as fetcher:
        with pytest.raises(Busy):
            await fetch(fetcher, f"http://img.test:{web.port}/ok.png", refuse)
    assert (looked, web.paths) == (1, [])


async def test_where_no_socket_can_be_had_nothing_is_said_against_the_address(web: Internet) -> None:
    names = Names(Case("", "url", "", "", resolve={"img.test": [PUBLIC]}))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with image_fetcher(web, names) as fetcher:
        assert await fetch(fetcher, f"http://img.test:{web.port}/ok.png") == PNG
        with Spool(Disk()) as picture:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor(), limits[1]))
            try:
                with pytest.raises(Overloaded):
                    await fetcher.fetch(f"http://img.test:{web.port}/ok.png", picture)
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
    assert (owner_key(one) == owner_key(other)) is same
