"""Credentials: what is none is refused when the settings are read, and what is taken is good for a real broker."""

import asyncio
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import nkeys
import pytest
from msgspec import Struct

from contracts.broker import bus
from contracts.process import credentials, env
from contracts.process.env import BadSetting
from contracts.process.settings import NatsCreds
from contracts.process.start import EX_CONFIG
from tests.kit.credentials import creds, jwt, user
from tests.kit.machine import NATS_SERVER, free_port
from tests.kit.process import completed

A_JWT = "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJVQSJ9.c2ln"
GOOD = user().seed
ENDS_WITHIN_S = 30
PROCESSES = {
    "services.edge": (),
    "services.state": (),
    "inference": (),
    "ops.provision": (),
    "ops.events": ("a" * 32,),
    "ops.replay": (),
    "ops.rebuild": (),
}


class Settings(Struct, frozen=True):
    """Settings with the fields under test."""

    nats_creds: NatsCreds = None


def refusal(file: Path) -> str:
    with pytest.raises(BadSetting) as refused:
        env.read(Settings, {"NATS_CREDS": str(file)})
    return str(refused.value)


def damaged(seed: str) -> str:
    """A seed with one character in the middle changed: the checksum finds it."""
    return seed[:30] + ("B" if seed[30] == "A" else "A") + seed[31:]


@pytest.mark.parametrize("name", ["a.nk", "a.seed"])
@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "\n {} \n"])
def test_a_seed_is_taken(name: str, around: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(around.format(GOOD), newline="")
    assert env.read(Settings, {"NATS_CREDS": str(file)}).nats_creds == str(file)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_jwt_with_its_seed_is_taken(newline: str, tmp_path: Path) -> None:
    file = tmp_path / "any name"
    file.write_text(creds(A_JWT, GOOD, newline), newline="")
    assert env.read(Settings, {"NATS_CREDS": str(file)}).nats_creds == str(file)
    assert credentials.read(str(file)) == credentials.Credentials(GOOD.encode(), A_JWT.encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no seed"),
        ("SUgarbage", "its seed is none: it should have 58 characters"),
        ("SUAM\n", "its seed is none"),
        (GOOD[:-1], "its seed is none"),
        (GOOD + "A", "its seed is none"),
        (GOOD.lower(), "its seed is none"),
        (f"{GOOD}\n{user().public}\n", "its seed is none"),
        (damaged(GOOD), "its seed is damaged: the checksum is another"),
        (user().public, "its seed is none"),
        (user(nkeys.PREFIX_BYTE_ACCOUNT).seed, "its seed is not a user's"),
        (creds(A_JWT, GOOD), "its seed is none"),
        ("\0\xff", "its seed is none"),
    ],
    ids=lambda _: "case",  # the seeds are drawn anew each time
)
def test_what_is_no_seed_is_refused_with_the_reason(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.nk"
    file.write_text(text)
    said = refusal(file)
    assert said.startswith(f"NATS_CREDS was {file}; it may be a file that can be read") and f"; {why}" in said
    assert GOOD[:10] not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no block BEGIN NATS USER JWT"),
        ("<html>", "it has no block BEGIN NATS USER JWT"),
        (GOOD, "it has no block BEGIN NATS USER JWT"),
        ("-----BEGIN NATS USER JWT-----\ngarbage", "its block BEGIN NATS USER JWT has no end"),
        (creds("garbage", GOOD), "its JWT is none: it should have three parts"),
        (creds("a.b", GOOD), "its JWT is none"),
        (creds("a.b.", GOOD), "its JWT is none"),
        (creds("a.b.c.d", GOOD), "its JWT is none"),
        (creds("", GOOD), "its JWT is none"),
        (creds(A_JWT, "SUgarbage"), "its seed is none"),
        (creds(A_JWT, damaged(GOOD)), "its seed is damaged"),
        (creds(A_JWT, ""), "it has no seed"),
        (creds(A_JWT, GOOD).split("---BEGIN USER")[0], "it has no block BEGIN USER NKEY SEED"),
        (creds(A_JWT, GOOD).split("---END USER")[0].rstrip("-"), "its block BEGIN USER NKEY SEED has no end"),
        ("x" * credentials.BYTES_MAX + creds(A_JWT, GOOD), "it is larger than 64 KiB"),
    ],
    ids=lambda _: "case",  # the seeds are drawn anew each time
)
def test_what_are_no_credentials_is_refused_with_the_reason(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.creds"
    file.write_text(text)
    said = refusal(file)
    assert said.startswith(f"NATS_CREDS was {file}; it may be a file that can be read") and f"; {why}" in said
    assert GOOD[:10] not in said and "garbage" not in said


def test_what_is_no_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.creds").endswith("; there is no such file")
    assert refusal(tmp_path).endswith("; it is no regular file")


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_ends_with_one_sentence_for_credentials_that_are_none(process: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.nk"
    file.write_text("SUgarbage")
    ended = completed("-m", process, *PROCESSES[process], within_s=ENDS_WITHIN_S, NATS_CREDS=str(file))
    assert ended.returncode == EX_CONFIG, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr and "garbage" not in ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"NATS_CREDS was {file}; ")


async def test_no_failure_to_close_takes_the_place_of_an_error(tmp_path: Path) -> None:
    file = tmp_path / "gone.nk"  # as when it is removed after the settings were read
    with pytest.raises(FileNotFoundError, match=r"gone\.nk"):
        async with bus.connect(f"nats://127.0.0.1:{free_port()}", name="test", creds=str(file)):
            pass
    stop = asyncio.Event()
    async with bus.connect("nats://127.0.0.1:1", name="test", creds=str(file), stop=stop, wait=False) as link:
        await asyncio.wait_for(stop.wait(), 10)
        assert link.failure is not None and link.complaints.refusal is None


@contextmanager
def server(folder: Path, conf: str) -> Generator[str, None, None]:
    port = free_port()
    (folder / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n{conf}\n")
    command = [NATS_SERVER, "-c", str(folder / "nats.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            running.kill()


async def test_a_broker_lets_in_the_user_of_a_seed(tmp_path: Path) -> None:
    known, file = user(), tmp_path / "a.nk"
    file.write_text(f"{known.seed}\r\n", newline="")
    with server(tmp_path, f"authorization {{ users: [ {{ nkey: {known.public} }} ] }}") as url:
        async with asyncio.timeout(20), bus.connect(url, name="test", creds=str(file)) as link:
            assert link.connected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_a_broker_lets_in_the_user_of_a_jwt(newline: str, tmp_path: Path) -> None:
    operator, account, known = user(nkeys.PREFIX_BYTE_OPERATOR), user(nkeys.PREFIX_BYTE_ACCOUNT), user()
    claims = {"iat": 1_700_000_000, "jti": "x"}
    limits = {"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1}

    def signed(kind: str, issuer: str, seed: str, subject: str, **nats: object) -> str:
        body = {"type": kind, "version": 2, **nats}
        return jwt({**claims, "iss": issuer, "sub": subject, "name": kind, "nats": body}, seed)

    operator_jwt = signed("operator", operator.public, operator.seed, operator.public)
    account_jwt = signed(
        "account", operator.public, operator.seed, account.public, limits={**limits, "wildcards": True}
    )
    user_jwt = signed("user", account.public, account.seed, known.public, pub={}, sub={}, subs=-1, data=-1, payload=-1)
    file = tmp_path / "a.creds"
    file.write_text(creds(user_jwt, known.seed, newline), newline="")
    conf = f'operator: "{operator_jwt}"\nresolver: MEMORY\nresolver_preload {{ {account.public}: "{account_jwt}" }}'
    with server(tmp_path, conf) as url:
        async with asyncio.timeout(20), bus.connect(url, name="test", creds=str(file)) as link:
            assert link.connected
