"""The addresses at which an edge listens, and its refusal to start if it cannot."""

import socket
import urllib.request
from pathlib import Path

import pytest

from contracts.process.env import BadSetting
from contracts.process.listening import listening
from tests.kit.broker import Broker
from tests.kit.machine import free_port
from tests.kit.process import Process, completed
from tests.kit.waiting import eventually


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def reached(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "both"),
    [("::", (True, True)), ("::1", (False, True)), ("0.0.0.0", (True, False)), ("127.0.0.1", (True, False))],
)
def test_each_address_serves_what_people_expect_of_it(host: str, both: tuple[bool, bool]) -> None:
    port = free_port()
    opened = listening(host, port)
    try:
        assert (reached("127.0.0.1", port), reached("::1", port)) == both
    finally:
        for one in opened:
            one.close()


@pytest.mark.parametrize(
    ("host", "said"),
    [("nohost.invalid", r"^cannot listen on nohost\.invalid:80 \(.+\); set SERVER_HOST to another one$"),
     ("192.0.2.1", r"^cannot listen on 192\.0\.2\.1:80 \(Cannot assign requested address\); set SERVER_HOST ")],
)  # fmt: skip
def test_a_host_that_cannot_be_had_is_said_in_one_sentence(host: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        listening(host, 80)


def test_a_taken_port_ends_the_edge_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stores = {"VIDEO_STORE_URL": str(tmp_path), "SCRATCH_STORE_URL": str(tmp_path)}
        ended = completed("-m", "services.edge", within_s=60, SERVER_HOST="127.0.0.1", SERVER_PORT=str(port), **stores)
    assert ended.returncode == 78
    assert (
        ended.stderr == f"cannot listen on 127.0.0.1:{port} (Address already in use); set SERVER_PORT to another one\n"
    )


@needs_ipv6
async def test_an_edge_on_any_address_of_ipv6_answers_both_families(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    stores = {"VIDEO_STORE_URL": str(tmp_path), "SCRATCH_STORE_URL": str(tmp_path)}
    edge = Process(
        ["-m", "services.edge"],
        tmp_path / "log",
        SERVER_HOST="::",
        SERVER_PORT=str(port),
        **broker.environment,
        **stores,
    )

    def live(url: str) -> bool:
        try:
            with urllib.request.urlopen(f"{url}/livez", timeout=5) as answer:  # noqa: S310
                return answer.status == 200
        except OSError:
            return False

    edge.start()
    try:
        for url in (f"http://127.0.0.1:{port}", f"http://[::1]:{port}"):
            await eventually(lambda url=url: live(url), within_s=60)
    finally:
        edge.stop()
