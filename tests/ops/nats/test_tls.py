"""The TLS of the shipped configuration, which is a comment until it is wanted: taken out of it, and connected to."""

import asyncio
import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path

import nats
import nats.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.process import env
from contracts.process.broker_settings import BrokerSettings, seed_file
from contracts.process.env import BadSetting
from tests.kit.broker import Broker, NatsServer
from tests.kit.machine import NATS_SERVER
from tests.kit.process import completed
from tests.kit.waiting import eventually

HOUR = dt.timedelta(hours=1)
WITHIN_S = 20


def certificate(folder: Path, name: str, issuer: str | None) -> None:
    """Write a key and its certificate, signed by the key of `issuer`, or by itself for a certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    signed_by = key if issuer is None else private_key(folder, issuer)
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(signed_by, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def private_key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def uncommented(conf: str) -> str:
    """Return the configuration with its TLS block taken out of the comment."""
    before, block, after = conf.partition("#tls {\n")
    assert block, "the configuration has no TLS block"
    return before + "\n".join(line.removeprefix("#") for line in (block + after).splitlines())


class Encrypted(NatsServer):
    """The broker with TLS."""

    def __init__(self, broker: Broker, folder: Path, *, mutual: bool) -> None:
        text = uncommented((broker.keys / "broker" / "nats-server.conf").read_text())
        self._conf = broker.keys / "broker" / "tls.conf"
        self._conf.write_text(text if mutual else text.replace("  verify: true\n", ""))
        paths = {"CERT": "server.pem", "KEY": "server.key", "CA": "ca.pem"}
        self._variables = {
            **broker.own_variables,
            **{f"NATS_TLS_{name}": f'"{folder / file}"' for name, file in paths.items()},
        }

    def start(self) -> None:
        self.launch([NATS_SERVER, "-c", str(self._conf)], self._variables)


@pytest.mark.parametrize("mutual", [False, True])
async def test_the_commented_block_encrypts_and_may_ask_clients_for_certificates(mutual: bool, tmp_path: Path) -> None:
    for name, issuer in (("ca", None), ("server", "ca"), ("client", "ca"), ("stranger", None)):
        certificate(tmp_path, name, issuer)
    broker = Broker(tmp_path / "jetstream")
    server = Encrypted(broker, tmp_path, mutual=mutual)
    server.start()
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    known = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    known.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    distrusting = ssl.create_default_context(cafile=tmp_path / "stranger.pem")

    async def connects(context: ssl.SSLContext | None) -> bool:
        try:
            async with asyncio.timeout(5):
                client = await nats.connect(
                    broker.address.replace("nats://", "tls://") if context else broker.address,
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
        await eventually(lambda: connects(known), within_s=WITHIN_S)
        assert await connects(trusting) is not mutual
        assert not await connects(distrusting)
        files = {"NATS_CA": "ca.pem", "NATS_CERT": "client.pem", "NATS_CERT_KEY": "client.key"}
        variables = {
            "NATS_URL": broker.address.replace("nats://", "tls://"),
            "NATS_KEYS": str(broker.keys),
            **{variable: str(tmp_path / file) for variable, file in files.items()},
        }
        made = await asyncio.to_thread(completed, "-m", "ops.provision", within_s=60, **variables)
        assert made.returncode == 0, made.stderr
        for variable in ("NATS_CERT", "NATS_CERT_KEY"):
            del variables[variable]
        without = await asyncio.to_thread(completed, "-m", "ops.queue", within_s=60, **variables)
        assert (without.returncode == 0) is not mutual, without.stderr
    finally:
        server.kill()


def test_a_certificate_needs_its_key_and_files_that_hold_them(tmp_path: Path) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no certificate")
    with pytest.raises(BadSetting, match="NATS_CERT and NATS_CERT_KEY go together"):
        env.read(BrokerSettings, {"NATS_CERT": str(file)})
    with pytest.raises(BadSetting, match=r"NATS_CA was /nope\.pem; it may be a file in PEM"):
        env.read(BrokerSettings, {"NATS_CA": "/nope.pem"})
    with pytest.raises(BadSetting, match="NATS_CA, NATS_CERT or NATS_CERT_KEY holds none"):
        BrokerSettings(nats_ca=str(file)).tls()
