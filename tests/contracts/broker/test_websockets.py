"""nats-py without aiohttp, and with it where an address is one of a websocket."""

from pathlib import Path

import pytest

from contracts.broker import bus
from tests.kit.broker import NatsServer
from tests.kit.machine import NATS_SERVER, free_port
from tests.kit.process import output_of

CONFIGURATION = """
listen: "127.0.0.1:{port}"
websocket {{ listen: "127.0.0.1:{websocket}", no_tls: true }}
jetstream {{ store_dir: "{store}" }}
"""


def test_no_service_starts_with_aiohttp_or_rich() -> None:
    imported = "import sys, services.{service}.__main__; print(*sorted({{'aiohttp', 'rich'}} & set(sys.modules)))"
    assert output_of("-c", imported.format(service="state"), within_s=60).split() == []
    assert output_of("-c", imported.format(service="edge"), within_s=60).split() == []


@pytest.mark.filterwarnings("ignore:parameter 'timeout':DeprecationWarning")  # nats-py's own call of aiohttp
async def test_a_broker_is_reached_by_websocket_too(tmp_path: Path) -> None:
    file, websocket = tmp_path / "nats.conf", free_port()
    file.write_text(CONFIGURATION.format(port=free_port(), websocket=websocket, store=tmp_path / "store"))
    server = NatsServer()
    server.launch([NATS_SERVER, "-c", str(file)], {})
    try:
        async with bus.connect(f"ws://127.0.0.1:{websocket}", name="test") as link:
            assert link.connected
            await link.admin.add_stream(name="S", subjects=["s"])
            assert (await link.publish("s", b"1", within_s=5)).sequence == 1
    finally:
        server.kill()
