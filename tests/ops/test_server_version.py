"""A nats-server that is too old is refused, with both versions, by provisioning and by the edge."""

from pathlib import Path

import pytest

from contracts.broker.server_version import Server
from ops.local.http import ask
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.waiting import eventually
from tests.ops.brokers import old_server
from tests.ops.refusal import refusal


def test_a_broker_that_is_too_old_is_said_with_both_versions() -> None:
    with old_server() as url:
        said = refusal(NATS_URL=url)
    assert said == f"the broker is nats-server 2.10.26, and 2.12 or newer is needed ({url}, NATS_URL)"


async def test_an_edge_is_not_ready_on_a_broker_that_is_too_old(tmp_path: Path) -> None:
    stores = {"VIDEO_STORE_URL": str(tmp_path), "SCRATCH_STORE_URL": str(tmp_path)}
    port = free_port()
    with old_server() as url:
        where = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port), "NATS_URL": url}
        edge = Process(["-m", "services.edge"], tmp_path / "log", **where, **stores).start()

        def not_ready() -> bool:
            try:
                status, why = ask(f"http://127.0.0.1:{port}/readyz")
            except OSError:
                return False
            return status == 503 and b"nats-server 2.10.26, and 2.12 or newer is needed" in why

        try:
            await eventually(not_ready, within_s=30)
        finally:
            edge.kill()


@pytest.mark.parametrize(
    ("version", "well"),
    [
        ("2.12.0", True),
        ("2.15.3", True),
        ("3.0.0", True),
        ("2.11.11", False),
        ("2.9.1", False),
        ("", True),
        ("v2.12.1-RC.1", True),
        ("dev", True),
    ],
)
def test_a_server_is_judged_by_its_version(version: str, well: bool) -> None:
    assert (Server(version, 1024**2).objection is None) is well
    assert "takes messages of 1024 bytes" in str(Server("2.12.0", 1024).objection)
