"""Real credentials for tests: an nkey's seed, and a file with a JWT and a seed, as `nsc` writes it."""

import base64
import json
import os
from typing import NamedTuple, cast

import nkeys


class User(NamedTuple):
    """A user whom a broker knows by an nkey."""

    seed: str
    public: str


def user(prefix: int = nkeys.PREFIX_BYTE_USER) -> User:
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    return User(seed.decode(), cast("bytes", nkeys.from_seed(bytearray(seed)).public_key).decode())


def creds(jwt: str, seed: str, newline: str = "\n") -> str:
    lines = (
        "-----BEGIN NATS USER JWT-----",
        jwt,
        "------END NATS USER JWT------",
        "",
        "************************* IMPORTANT *************************",
        "NKEY Seed printed below can be used to sign and prove identity.",
        "",
        "-----BEGIN USER NKEY SEED-----",
        seed,
        "------END USER NKEY SEED------",
        "",
    )
    return newline.join(lines)


def jwt(claims: dict[str, object], issuer_seed: str) -> str:
    """Return a signed JWT, as NATS has them."""
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{_base64(nkeys.from_seed(bytearray(issuer_seed.encode())).sign(text.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
