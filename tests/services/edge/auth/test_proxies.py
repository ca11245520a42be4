from ipaddress import ip_network

import pytest

from services.edge.auth.proxies import client_address

TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8")))
PROXY = "10.0.0.1"


def address(peer: str, *headers: tuple[str, str]) -> str:
    return client_address(peer, [(name.encode(), value.encode()) for name, value in headers], TRUSTED)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("1.1.1.1, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("192.0.2.7, unknown", PROXY),
        ("", PROXY),
        ("x" * 5000, PROXY),
        (", ".join(["192.0.2.7"] + ["10.1.1.1"] * 10_000), "10.1.1.1"),
    ],
)
def test_the_client_is_the_right_most_address_that_no_trusted_proxy_has(value: str, client: str) -> None:
    assert address(PROXY, ("x-forwarded-for", value)) == client


def test_a_header_counts_from_a_trusted_proxy_alone() -> None:
    for peer in ("192.0.2.1", "2001:db8::9"):
        assert address(peer, ("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")) == peer
    assert address("::ffff:10.0.0.1", ("x-forwarded-for", "1.1.1.1")) == "1.1.1.1"
    assert address("fd00::1", ("x-forwarded-for", "1.1.1.1")) == "1.1.1.1"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.7", "192.0.2.7"),
        ('For="[2001:db8::17]:4711";proto=https', "2001:db8::17"),
        ("for=1.1.1.1, proto=http;for=192.0.2.7;by=10.0.0.1", "192.0.2.7"),
        ("for=1.1.1.1, for=_hidden", PROXY),
        ("by=1.1.1.1", PROXY),
        ('for="', PROXY),
    ],
)
def test_forwarded_is_read_as_well(value: str, client: str) -> None:
    assert address(PROXY, ("forwarded", value)) == client


def test_several_headers_of_a_name_are_one_list() -> None:
    hops = (("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "10.3.3.3"))
    assert address(PROXY, *hops) == "192.0.2.7"


def test_a_header_that_the_proxy_has_passed_on_from_the_client_does_not_count() -> None:
    assert address(PROXY, ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=6.6.6.6")) == PROXY
    assert address(PROXY, ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7")) == "192.0.2.7"
