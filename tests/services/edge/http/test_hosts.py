import http.client
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from contracts.process import env
from contracts.process.env import BadSetting
from services.edge.http.hosts import is_served
from services.edge.settings import Settings
from tests.kit.broker import Broker
from tests.kit.edge import Edge
from tests.kit.waiting import eventually

ALLOWED = ("Wanjet.Example", "*.example.com", "[::1]", "127.0.0.1", "with-port.example:8088", "dot.example.")


@pytest.mark.parametrize(
    "host",
    [
        "wanjet.example", "WANJET.example", "wanjet.example:8088", "wanjet.example.", "wanjet.example.:80",
        "a.example.com", "A.B.Example.COM:443", "[::1]", "[::1]:8088", "127.0.0.1", "127.0.0.1:1",
        "with-port.example", "with-port.example:1", "dot.example", "dot.example.",
    ],
)  # fmt: skip
def test_an_allowed_host_is_served_whatever_its_port_case_and_trailing_dot(host: str) -> None:
    assert is_served(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        "", ".", ":80", "example.com", ".example.com", "example.com.", "notexample.com", "a.example.com.evil.example",
        "example.com.evil.example", "evil.example", "127.0.0.2", "[::2]", "::1", "[::1", "[::1]evil.example",
        "wanjet.example:80:80", "wanjet.example:80@evil.example", "evil.example@wanjet.example", "wanjet.example/x",
        "wanjet.example..", "wanjet.example evil.example", "wanjet.example,evil.example",
        "a.example.com\u0130", "a.\u017fxample.com", "*", "*.example.com",
    ],
)  # fmt: skip
def test_another_host_or_what_is_none_is_not_served(host: str) -> None:
    assert not is_served(host, ALLOWED)


@pytest.mark.parametrize("host", ["", "example.com", "no host at all"])
def test_a_star_serves_every_host(host: str) -> None:
    assert is_served(host, ("wanjet.example", "*"))


def test_a_star_within_a_name_is_no_pattern() -> None:
    assert not is_served("a.example.com", ("a*.example.com", "a.*.com", "**", "*com", "*.", "*..", ""))


def read(pattern: str) -> tuple[str, ...]:
    return env.read(Settings, {"ALLOWED_HOSTS": pattern}).allowed_hosts


@pytest.mark.parametrize(
    "pattern",
    [
        "a..b", ".a.org", "a.org..", ".", "..", "*.*", "*..a", "*.a..b", "*.", "-a.org", "*.-a.org", "a*.org",
        "256.1.1.1", "1.2.3", "*.10.0.0.1", "*.[::1]", "[::1", "[:::1]", "[1.2.3.4.5]", "[]", "::1", "a.org:99999",
        "a.org:0", "http://a.org", "a.org/x", "a b", "ü.org", "a" * 64 + ".org", ".".join(["a" * 60] * 5), "**",
    ],
)  # fmt: skip
def test_a_pattern_whose_host_cannot_be_one_is_refused(pattern: str) -> None:
    with pytest.raises(
        BadSetting, match=r"^ALLOWED_HOSTS was .*; it may be a list, parted by commas, each of it \* for"
    ):
        read(f"good.org, {pattern}")


@pytest.mark.parametrize(
    "pattern",
    [
        "*", "a.org", "A.Org", "a.org.", "a.org:8088", "localhost", "*.a.org", "*.localhost", "*.a.org:1", "10.0.0.1",
        "10.0.0.1:80", "[::1]", "[fd00::1]:8088", "my_host", "xn--bcher-kva.example", "a-b.c", "7.org", "a.org:",
    ],
)  # fmt: skip
def test_a_pattern_whose_host_can_be_one_is_taken(pattern: str) -> None:
    assert read(f"good.org, {pattern}") == ("good.org", pattern)


@pytest.mark.parametrize("host", ["a..b", "*.*", "-a.org", "256.1.1.1", "[:::1]", "*.10.0.0.1", "a.org:99999"])
def test_an_origin_whose_host_cannot_be_one_is_refused(host: str) -> None:
    with pytest.raises(BadSetting, match=r"^ALLOWED_ORIGINS was https://"):
        env.read(Settings, {"ALLOWED_ORIGINS": f"https://{host}"})


def ask(edge: Edge, path: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_an_edge_serves_its_allowed_hosts_alone_and_probes_by_any_name(
    edges: Callable[..., Edge], broker: Broker, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    broker.kill()  # hosts are judged before anything is asked of it
    edge = edges(AUTH="off", ALLOWED_HOSTS="wanjet.example, *.example.com")

    await eventually(lambda: edge.answers(client, "/livez"), within_s=20)
    for host in ("wanjet.example", "WANJET.EXAMPLE:8088", "a.example.com"):
        assert ask(edge, "/nowhere", host)[0] == 404
    for path in ("/nowhere", "/", "/health", "/video/status/x", "/livez/x", "//livez"):
        assert ask(edge, path, "example.com") == (
            400,
            b'{"error":"BAD_REQUEST","message":"this host is not served here"}',
        )
    assert [ask(edge, path, "10.1.2.3:8088")[0] for path in ("/livez", "/readyz")] == [200, 503]
