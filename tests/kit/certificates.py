"""Certificates for tests: pairs of localhost, each signed by itself or by the authority that another pair is."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "video.example.org")
VALID = dt.timedelta(days=30)


class Pair(NamedTuple):
    """A certificate and its key, both as PEM."""

    cert: bytes
    key: bytes

    @property
    def der(self) -> bytes:
        """Return the certificate as a client sees it."""
        return ssl.PEM_cert_to_DER_cert(self.cert.decode())


def made(
    *,
    of_rsa: bool = False,
    passphrase: bytes | None = None,
    signed_by: Pair | None = None,
    ends: dt.timedelta = VALID,
    begins: dt.timedelta = -VALID,
) -> Pair:
    """Return a new pair, for 127.0.0.1 and `NAMES`, that is its own authority unless `signed_by` is.

    When its certificate begins and ends counts from now.
    """
    key = rsa.generate_private_key(65537, 2048) if of_rsa else ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A client that trusts several finds the one by its subject.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {serial:x}")])
    issuer, issuer_key = (name, key) if signed_by is None else _authority(signed_by)
    now = dt.datetime.now(dt.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, NAMES)]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_constraints(authority=signed_by is None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return Pair(cert.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))


def _constraints(*, authority: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=authority, path_length=0 if authority else None)


def _authority(pair: Pair) -> tuple[x509.Name, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    """Return the name and the key by which a pair signs others."""
    key = serialization.load_pem_private_key(pair.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return x509.load_pem_x509_certificate(pair.cert).subject, key


class Files:
    """A pair on the disk, as an edge's settings name it. It lives as long as its folder."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.replace(pair)

    @property
    def variables(self) -> dict[str, str]:
        return {"TLS_CERT": str(self.cert), "TLS_KEY": str(self.key)}

    def replace(self, pair: Pair) -> None:
        """Put a pair in the place of the one before, each file at once, as those do who renew certificates."""
        for path, content in ((self.key, pair.key), (self.cert, pair.cert)):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)
