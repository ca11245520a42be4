"""Addresses and redirects as people and servers really write them, fetched over sockets; and what stays forbidden."""

from collections.abc import AsyncGenerator
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from contracts.outbound.url_policy import Forbidden, UrlPolicy
from services.edge.errors import ImageRefused
from services.edge.image.fetch import UNREACHABLE, ImageFetcher
from tests.services.edge.corpus import PNG, PUBLIC, Case, Internet, Names, internet
from tests.services.edge.spooled import fetch

RESOLVE = {
    "img.test": [PUBLIC],
    "xn--bcher-kva.test": [PUBLIC],
    "1minio": [PUBLIC],
    "3f2a9c1b7d4e": [PUBLIC, "::1"],
    "absolute.test.": [PUBLIC],
}


@pytest.fixture
async def web() -> AsyncGenerator[Internet, None]:
    async with internet() as web:
        yield web


def names(**more: list[str]) -> Names:
    return Names(
        Case("", "url", "", "", resolve={**RESOLVE, **{name.replace("_", "."): to for name, to in more.items()}})
    )


def image_fetcher(web: Internet, names: Names, *networks: str) -> ImageFetcher:
    return ImageFetcher(
        allowed_networks=tuple(ip_network(network) for network in networks or (f"{PUBLIC}/32",)),
        allowed_ports=frozenset({web.port}),
        lookup=names.look_up,
        within_s=1.0,
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (" \nhttp://img.test:PORT/ok.png\n", "/ok.png"),
        ("ht\ttp://img.\ntest:PORT/o\rk.png", "/ok.png"),
        ("http://img.test:PORT/my cat.png?a=b c", "/my%20cat.png?a=b%20c"),
        ("http://img.test:PORT/猫.png?sig=a%2Bb%41", "/%E7%8C%AB.png?sig=a%2Bb%41"),
        ("http://img.test:PORT/ok.png?sig=%2f%2F+~%7e&t='", "/ok.png?sig=%2f%2F+~%7e&t=%27"),
        ("http://bücher.test:PORT/ok.png", "/ok.png"),
        ("http://BÜCHER。test:PORT/ok.png", "/ok.png"),
        ("http://b%c3%bccher.test.:PORT/ok.png", "/ok.png"),
        ("http://absolute.test.:PORT/ok.png", "/ok.png"),
        ("http://1minio:PORT/ok.png", "/ok.png"),
        ("http://3f2a9c1b7d4e.:PORT/ok.png", "/ok.png"),
        ("http://2130706434:PORT/ok.png", "/ok.png"),
        ("http://0x7f.2:PORT/ok.png", "/ok.png"),
    ],
)
async def test_an_address_is_fetched_as_a_browser_would(web: Internet, url: str, path: str) -> None:
    async with image_fetcher(web, names()) as fetcher:
        assert await fetch(fetcher, url.replace("PORT", str(web.port))) == PNG
    assert (web.paths, web.reached) == ([path], [])
    host = web.heads[0].split(b"Host: ")[1].split(b"\r\n")[0]
    assert host.isascii()


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/my cat.png", "/my%20cat.png"),
        (b"my cat.png?of=a b#c", "/my%20cat.png?of=a%20b"),
        ("/猫.png".encode(), "/%E7%8C%AB.png"),
        ("http://img.test:PORT/é.png?sig=%2B%41".encode(), "/%C3%A9.png?sig=%2B%41"),
        ("/é.png".encode("latin-1"), "/%E9.png"),
        (b"/\tok.png", "/ok.png"),
        ("http://bücher.test:PORT/ok.png".encode(), "/ok.png"),
        (b"http://xn--bcher-kva.test:PORT/ok.png", "/ok.png"),
        (b"//b%C3%BCcher.test:PORT/ok.png", "/ok.png"),
        (b"http://0x7f000002:PORT/ok.png", "/ok.png"),
        (b"http://absolute.test.:PORT/ok.png", "/ok.png"),
        (b"../../a/../ok.png", "/ok.png"),
        (b"?a b", "/raw-redir?a%20b"),
    ],
)
async def test_a_redirect_is_followed_as_browsers_encode_it(web: Internet, location: bytes, path: str) -> None:
    to = quote(location.replace(b"PORT", str(web.port).encode()), safe="")
    async with image_fetcher(web, names()) as fetcher:
        assert await fetch(fetcher, f"http://img.test:{web.port}/raw-redir?to={to}") == PNG
    assert (web.paths[1:], web.reached) == ([path], [])


@pytest.mark.parametrize(
    "location",
    [
        b"http://127.0.0.1:PORT/", b"http://0x7f.1:PORT/", b"http://2130706433:PORT/", b"http://0177.1:PORT/",
        "http://１２７。0.0.1:PORT/".encode(), b"//127.1.:PORT/", b"http://%31%32%37.0.0.1:PORT/",
        b"http://[::1]:PORT/", b"http://[::ffff:7f00:1]:PORT/", b"ht\ttp://127.0.0.1:PORT/", b" //[::1]:PORT/",
        b"\\\\127.0.0.1:PORT/", b"http://img.test:PORT\\@127.0.0.1:PORT/", b"http://a..b:PORT/", b"data:image/png,x",
        "http://a\u2028b.test:PORT/".encode(), b"http://\xff.test:PORT/", b"http://[::1/",
    ],
)  # fmt: skip
async def test_no_spelling_in_a_redirect_reaches_what_is_forbidden(web: Internet, location: bytes) -> None:
    to = quote(location.replace(b"PORT", str(web.port).encode()), safe="")
    async with image_fetcher(web, names()) as fetcher:
        with pytest.raises(ImageRefused, match=UNREACHABLE):
            await fetch(fetcher, f"http://img.test:{web.port}/raw-redir?to={to}")
    assert (len(web.paths), web.reached) == (1, [])


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "0177.0.0.1", "127.1", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "0x0"])
async def test_an_odd_spelling_of_a_forbidden_address_is_forbidden_and_the_log_says_what_would_allow_it(
    web: Internet, host: str
) -> None:
    async with image_fetcher(web, names()) as fetcher:
        with capture_logs() as lines, pytest.raises(ImageRefused, match=UNREACHABLE):
            await fetch(fetcher, f"http://{host}:{web.port}/ok.png")
    assert [line["allowed_by"] for line in lines] == ["OUTBOUND_ALLOWED_NETWORKS"]
    assert (web.paths, web.reached) == ([], [])


@pytest.mark.parametrize(
    ("host", "words"),
    [("a..b", "empty part"), ("256.1.1.1", "no IPv4 address"), ("a%20b", "holds a blank"), ("a" * 64, "64 characters")],
)
async def test_a_malformed_host_is_named_before_anything_is_looked_up(web: Internet, host: str, words: str) -> None:
    async def look_up(_: str) -> list[str]:
        raise AssertionError("looked up")

    async with ImageFetcher(lookup=look_up) as fetcher:
        with pytest.raises(ImageRefused, match=words):
            await fetch(fetcher, f"http://{host}/ok.png")


@pytest.mark.parametrize("host", ["1minio", "3f2a9c1b7d4e", "localhost.", "minio."])
async def test_without_an_allowed_network_the_log_says_that_one_would_allow_a_name_without_dots(host: str) -> None:
    async with ImageFetcher(lookup=names().look_up) as fetcher:
        with capture_logs() as lines, pytest.raises(ImageRefused, match=UNREACHABLE):
            await fetch(fetcher, f"http://{host}/ok.png")
    assert [line["allowed_by"] for line in lines] == ["OUTBOUND_ALLOWED_NETWORKS"]


async def test_localhost_as_an_absolute_name_is_found(web: Internet) -> None:
    async with ImageFetcher(
        allowed_networks=(ip_network("127.0.0.0/8"),), allowed_ports=frozenset({web.port})
    ) as fetcher:
        assert await fetch(fetcher, f"http://localhost.:{web.port}/ok.png") == PNG
    assert all("127.0.0.1" in reached for reached in web.reached)


@pytest.mark.parametrize("beside", ["10.9.9.9", "192.168.7.1", "fd00::2"])
async def test_private_addresses_beside_an_allowed_one_are_left_out(web: Internet, beside: str) -> None:
    async with image_fetcher(web, names(host_internal=[beside, PUBLIC])) as fetcher:
        assert await fetch(fetcher, f"http://host.internal:{web.port}/ok.png") == PNG
    assert web.reached == []


@pytest.mark.parametrize("beside", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "fd00::2", "10.9.9.9"])
async def test_any_other_forbidden_address_spoils_a_name_with_dots(beside: str) -> None:
    networks = () if beside in ("fd00::2", "10.9.9.9") else (ip_network("8.8.8.0/24"),)
    with pytest.raises(Forbidden) as fault:
        UrlPolicy(networks, frozenset()).checked("evil.test", ["8.8.8.8", beside])
    assert fault.value.setting == "OUTBOUND_ALLOWED_NETWORKS"


@pytest.mark.parametrize("status", [200, 203])
async def test_a_picture_is_one_whether_a_proxy_has_touched_it_or_not(web: Internet, status: int) -> None:
    async with image_fetcher(web, names()) as fetcher:
        assert await fetch(fetcher, f"http://img.test:{web.port}/status/{status}") == PNG


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206, 207, 300, 304, 305, 404])
async def test_an_answer_that_is_not_the_picture_asked_for_is_named_by_its_status(web: Internet, status: int) -> None:
    async with image_fetcher(web, names()) as fetcher:
        with pytest.raises(ImageRefused, match=f"its server answered {status}"):
            await fetch(fetcher, f"http://img.test:{web.port}/status/{status}")


async def test_a_redirect_that_names_no_address_is_named_by_its_status(web: Internet) -> None:
    async with image_fetcher(web, names()) as fetcher:
        with pytest.raises(ImageRefused, match="its server answered 302, and says nothing of where to"):
            await fetch(fetcher, f"http://img.test:{web.port}/status/302")
    assert len(web.paths) == 1
