"""The TLS of the shipped configuration, which is a comment until it is wanted: taken out of it, and connected to."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import nats
import nats.errors
import pytest

from contracts.process import env
from contracts.process.broker_settings import BrokerSettings, seed_file
from contracts.process.env import BadSetting
from contracts.process.start import EX_CONFIG
from tests.kit.broker import Broker
from tests.kit.certificates import made
from tests.kit.edge import Edge
from tests.kit.encrypted_broker import EncryptedBroker
from tests.kit.process import completed
from tests.kit.waiting import eventually

WITHIN_S = 20


@pytest.mark.parametrize("mutual", [False, True])
async def test_the_commented_block_encrypts_and_may_ask_clients_for_certificates(mutual: bool, tmp_path: Path) -> None:
    broker = EncryptedBroker(tmp_path / "jetstream", mutual=mutual)
    broker.start()

    async def connects(context: ssl.SSLContext | None) -> bool:
        try:
            async with asyncio.timeout(5):
                client = await nats.connect(
                    broker.address if context else broker.address.replace("tls://", "nats://"),
                    tls=context,
                    nkeys_seed=str(seed_file(broker.keys, "edge")),
                    inbox_prefix="_INBOX_edge",
                    allow_reconnect=False,
                    max_reconnect_attempts=0,
                )
        except (nats.errors.Error, OSError, TimeoutError, asyncio.IncompleteReadError):
            return False
        await client.close()
        return True

    try:
        await eventually(lambda: connects(broker.context()), within_s=WITHIN_S)
        assert await connects(broker.context(shows_certificate=False)) is not mutual
        assert not await connects(ssl.create_default_context(cadata=made().cert.decode()))
    finally:
        broker.kill()


def asked(variables: dict[str, str], **changes: str) -> tuple[int, str, str]:
    """Return exit code, output and last line of the errors of a command that asks the broker."""
    done = completed("-m", "ops.slots", within_s=WITHIN_S, **{**variables, **changes})
    return done.returncode, done.stdout, done.stderr.strip().rpartition("\n")[2]


def test_a_command_says_why_there_is_no_tls_and_prints_nothing_else_when_there_is(tmp_path: Path) -> None:
    broker = EncryptedBroker(tmp_path / "jetstream")
    broker.start()
    shows_none = {"NATS_CERT": "", "NATS_CERT_KEY": ""}
    try:
        # Without a monitor, so over the system account, whose connection is encrypted like all others.
        provisioned = completed("-m", "ops.provision", within_s=60, **{**broker.environment, "NATS_MONITOR_URLS": ""})
        assert provisioned.returncode == 0, provisioned.stderr
        assert [json.loads(line)["event"] for line in provisioned.stdout.splitlines()] == ["provisioned"]
        assert asked(broker.environment) == (0, "no slot is taken\n", "")
        for changes, why in (
            (shows_none, "certificate required"),
            ({**shows_none, "NATS_CA": ""}, "certificate verify failed"),
            ({**shows_none, "NATS_CA": "", "NATS_URL": f"nats://127.0.0.1:{broker.port}"}, "certificate verify failed"),
        ):
            code, printed, said = asked(broker.environment, **changes)
            assert (code, printed) == (EX_CONFIG, "")
            assert said.startswith("no TLS with the broker at ") and why in said
    finally:
        broker.kill()


@pytest.mark.parametrize("certificates", [{}, {"NATS_CA": "ca"}], ids=["tls://", "a certificate"])
def test_nothing_is_said_in_plain_text_where_tls_is_asked_for(
    broker: Broker, tmp_path: Path, certificates: Any
) -> None:
    """As to an attacker in between, who takes the broker's wish for TLS out of its first line."""
    (tmp_path / "ca").write_bytes(made().cert)
    url = broker.address if certificates else broker.address.replace("nats://", "tls://")
    changes = {"NATS_URL": url, **{variable: str(tmp_path / name) for variable, name in certificates.items()}}
    code, printed, said = asked(broker.environment, **changes)
    assert (code, printed) == (EX_CONFIG, "")
    assert said.endswith("the broker does not ask for TLS")


async def test_an_edge_says_that_it_has_no_tls_with_the_broker(tmp_path: Path) -> None:
    broker = EncryptedBroker(tmp_path / "jetstream")
    broker.start()
    edge = Edge(tmp_path, broker, NATS_CERT="", NATS_CERT_KEY="")
    edge.start()
    try:
        async with aiohttp.ClientSession() as client:

            async def says_so() -> bool:
                try:
                    async with client.get(f"{edge.url}/readyz") as answer:
                        return answer.status == 503 and "agree on no TLS" in (await answer.json())["message"]
                except aiohttp.ClientConnectionError:
                    return False

            await eventually(says_so, within_s=30)
        errors = [line["error"] for line in edge.lines if line["event"] == "broker_error"]
        assert any("CERTIFICATE_REQUIRED" in error for error in errors)
        assert len(errors) == len(set(errors)), "each is logged once"
    finally:
        assert edge.stop() == 0
        broker.kill()


def test_a_certificate_needs_its_key_and_files_that_hold_them(tmp_path: Path) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no certificate")
    with pytest.raises(BadSetting, match="NATS_CERT and NATS_CERT_KEY go together"):
        env.read(BrokerSettings, {"NATS_CERT": str(file)})
    with pytest.raises(BadSetting, match=r"NATS_CA was /nope\.pem; it may be a file in PEM"):
        env.read(BrokerSettings, {"NATS_CA": "/nope.pem"})
    with pytest.raises(BadSetting, match="NATS_CA, NATS_CERT or NATS_CERT_KEY holds none"):
        BrokerSettings(nats_ca=str(file)).tls()
