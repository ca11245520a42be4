"""A port or a host that cannot be listened on is named before anything starts."""

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from ops.local.preflight import check_ports
from ops.local.stack import CannotStart, Stack, on_free_ports


@pytest.fixture
def taken_port() -> Generator[int, None, None]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("variable", ["SERVER_PORT", "NATS_LISTEN", "NATS_MONITOR"])
def test_a_port_in_use_is_said_with_its_variable(variable: str, taken_port: int, tmp_path: Path) -> None:
    free = on_free_ports(tmp_path)
    address = f"127.0.0.1:{taken_port}"
    stack = Stack(
        folder=tmp_path,
        server_port=taken_port if variable == "SERVER_PORT" else free.server_port,
        nats_listen=address if variable == "NATS_LISTEN" else free.nats_listen,
        nats_monitor=address if variable == "NATS_MONITOR" else free.nats_monitor,
    )
    with pytest.raises(CannotStart, match=rf"cannot listen on {address} \(Address already in use\); set {variable}"):
        check_ports(stack)


@pytest.mark.parametrize(
    ("host", "said"),
    [("nohost.invalid", r"^cannot listen on nohost\.invalid:[0-9]+ \(.*\); set SERVER_HOST to another one$"),
     ("2001:db8::1", r"^cannot listen on \[2001:db8::1\]:[0-9]+ \(.*\); set SERVER_HOST to another one$")],
)  # fmt: skip
def test_a_host_that_cannot_be_listened_on_is_said_with_its_variable(host: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=said):
        check_ports(on_free_ports(tmp_path, server_host=host))
