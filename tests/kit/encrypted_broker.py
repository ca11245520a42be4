"""A broker that speaks TLS, by the block of the shipped configuration that is a comment until it is wanted."""

import ssl
from pathlib import Path

from tests.kit.broker import Broker
from tests.kit.certificates import made


class EncryptedBroker(Broker):
    """The broker with TLS; with `mutual` it asks its clients for certificates of their own, as the block has it.

    `environment` names a client's certificate. Beside the store lie the certificates of the authority that has signed
    all others (`ca`), of the broker (`server`) and of its clients (`client`).
    """

    def __init__(self, store: Path, *, mutual: bool = True) -> None:
        super().__init__(store)
        self.address = self.address.replace("nats://", "tls://")
        self.url = self.url.replace("nats://", "tls://")
        self._certificates = store.with_name(f"{store.name}-certificates")
        self._certificates.mkdir()
        authority = made()
        for name, pair in (("ca", authority), *((name, made(signed_by=authority)) for name in ("server", "client"))):
            self.certificate(name).write_bytes(pair.cert)
            self.key(name).write_bytes(pair.key)
        text = with_tls(self._conf.read_text())
        self._conf = self._conf.with_name("tls.conf")
        self._conf.write_text(text if mutual else text.replace("  verify: true\n", ""))

    def certificate(self, name: str) -> Path:
        return self._certificates / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self._certificates / f"{name}.key"

    @property
    def variables(self) -> dict[str, str]:
        files = {"CERT": self.certificate("server"), "KEY": self.key("server"), "CA": self.certificate("ca")}
        return {f"NATS_TLS_{name}": f'"{path}"' for name, path in files.items()}

    @property
    def environment(self) -> dict[str, str]:
        files = {"CA": self.certificate("ca"), "CERT": self.certificate("client"), "CERT_KEY": self.key("client")}
        return {**super().environment, **{f"NATS_{name}": str(path) for name, path in files.items()}}

    def context(self, *, shows_certificate: bool = True) -> ssl.SSLContext:
        """Return what a test of its own connects with: it trusts the authority, and shows the client's certificate."""
        context = ssl.create_default_context(cafile=self.certificate("ca"))
        if shows_certificate:
            context.load_cert_chain(self.certificate("client"), self.key("client"))
        return context


def with_tls(conf: str) -> str:
    """Return the shipped configuration with its TLS block taken out of the comment."""
    before, block, after = conf.partition("#tls {\n")
    assert block, "the configuration has no TLS block"
    return before + "\n".join(line.removeprefix("#") for line in (block + after).splitlines())
