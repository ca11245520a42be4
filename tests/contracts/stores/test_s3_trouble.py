"""Faults of an object store and of its settings are said in words that name the variable, and without any secret."""

import asyncio
import socket
from pathlib import Path

import pytest

from contracts.broker import bus
from contracts.process.env import BadSetting, read
from contracts.stores import configured, open_store
from ops.provision import provision
from services.state.__main__ import Settings as State
from tests.contracts.stores.answering import answering
from tests.kit.broker import Broker, provision_settings
from tests.kit.process import Process
from tests.kit.waiting import eventually

KEY_ID, KEY, TOKEN = "AKIACANARY", "secret-canary", "token-canary"
KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": TOKEN}
NAME = "SCRATCH_STORE_URL"
VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_PROFILE",
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE", "AWS_DEFAULT_REGION",
    "AWS_METADATA_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("contracts.stores.s3.RETRIES_MAX", 0)


def said(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the sentence about a store: a refusal of its settings, or its trouble."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    try:
        found = asyncio.run(configured.scratch_store("s3://my-bucket/x").trouble())
    except BadSetting as refusal:
        sentence = str(refusal)
    else:
        assert found is not None
        sentence = str(found)
    assert sentence.startswith(f"{NAME}: ")
    assert not any(secret in sentence for secret in (KEY_ID, KEY, TOKEN)) and "\n" not in sentence
    return sentence


def test_half_of_the_credentials_is_said_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AWS_SECRET_ACCESS_KEY is missing" in said(monkeypatch, AWS_ACCESS_KEY_ID=KEY_ID)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "AWS_ACCESS_KEY_ID is missing" in said(monkeypatch, AWS_SECRET_ACCESS_KEY=KEY)


def test_no_credentials_are_said_where_the_metadata_service_gives_none_or_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = "there are no credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
    with answering(404, "") as url:
        assert words in said(monkeypatch, AWS_METADATA_ENDPOINT=url)
    monkeypatch.setattr("contracts.stores.s3.CHECK_WITHIN_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sentence = said(monkeypatch, AWS_METADATA_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert f"no answer within 0.2 s; {words}" in sentence


def test_a_token_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nope", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_REGION": "a"}
    assert "the file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read" in said(monkeypatch, **variables)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://no.such.invalid:9000", "the store's host is not found in DNS (AWS_ENDPOINT_URL, AWS_REGION)"),
        ("minio:9000", "AWS_ENDPOINT_URL is no address of an object store"),
        ("http://[::1", "AWS_ENDPOINT_URL is no address of an object store"),
        ("ftp://minio", "AWS_ENDPOINT_URL is no address of an object store"),
    ],
)
def test_an_endpoint_that_cannot_be_found_is_said(endpoint: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why in said(monkeypatch, AWS_ENDPOINT_URL=endpoint, **KEYS)


def test_a_region_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(AWS_REGION, AWS_ENDPOINT_URL)" in said(monkeypatch, AWS_REGION="..", **KEYS)


def test_an_endpoint_where_nobody_listens_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert "nobody listens at the store's address (AWS_ENDPOINT_URL)" in said(
            monkeypatch, AWS_ENDPOINT_URL=url, **KEYS
        )


def test_an_endpoint_that_speaks_no_tls_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "") as url:
        tls = url.replace("http:", "https:")
        assert "no TLS connection to the store can be made" in said(monkeypatch, AWS_ENDPOINT_URL=tls, **KEYS)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (403, f"<Code>InvalidAccessKeyId</Code><Message>The Key {KEY_ID}</Message>", "the credentials are refused"),
        (403, f"<Code>SignatureDoesNotMatch</Code><Key>{KEY}</Key>", "the credentials are refused (AWS_ACCESS_KEY_ID"),
        (403, "<Code>AccessDenied</Code>", "these credentials may not write there (Permission"),
        (403, TOKEN, "the store answered 403 (PermissionDeniedError)"),
        (404, "<Code>NoSuchBucket</Code>", "there is no such bucket"),
        (301, "<Code>PermanentRedirect</Code>", "the bucket lies in another region (AWS_REGION)"),
        (400, "<Code>AuthorizationHeaderMalformed</Code>", "the bucket lies in another region (AWS_REGION)"),
        (500, "<Code>InternalError</Code>", "the store refuses (GenericError, InternalError)"),
        (200, "<html>", "what answers is no object store (AWS_ENDPOINT_URL)"),
    ],
)  # fmt: skip
def test_what_a_store_answers_is_said_without_its_words(
    status: int, body: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, body) as url:
        assert why in said(monkeypatch, AWS_ENDPOINT_URL=url, **KEYS)


def test_a_variable_or_a_prefix_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match=rf"^{NAME}: the prefix has an empty part \(//\)"):
        configured.scratch_store("s3://bucket/a//b")
    assert "should be true or false" in said(monkeypatch, AWS_SKIP_SIGNATURE="maybe")


def test_a_key_in_the_address_of_a_bucket_is_refused_and_not_shown() -> None:
    with pytest.raises(BadSetting, match=rf"^{NAME} was s3://…@b/x; it may be a folder's path or s3://") as refused:
        read(State, {NAME: f"s3://{KEY_ID}:{KEY}@b/x"})
    assert KEY not in str(refused.value)


async def test_an_operation_that_fails_names_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, kind in ((403, OSError), (404, FileNotFoundError)):
        with answering(status, f"<Code>AccessDenied</Code>{KEY}") as url:
            for variable, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
                monkeypatch.setenv(variable, value)
            with pytest.raises(kind, match=rf"^{NAME}, object store: these credentials may not") as raised:
                await open_store("s3://my-bucket/x", setting=NAME).now()
            assert KEY not in str(raised.value)


async def test_the_state_service_names_the_store_and_logs_only_what_changes(broker: Broker, tmp_path: Path) -> None:
    async with bus.connect(broker.url, name="test") as link:
        await provision(link, provision_settings(broker))
    asked: list[str] = []
    with answering(403, "<Code>AccessDenied</Code>", asked) as url:
        state = Process(
            ["-m", "services.state"],
            tmp_path / "state.log",
            VIDEO_STORE_URL=str(tmp_path / "videos"),
            SCRATCH_STORE_URL="s3://my-bucket/x",
            AWS_ENDPOINT_URL=url,
            CLEANUP_INTERVAL="0.05",
            **KEYS,
            **broker.environment,
        ).start()
        try:
            await eventually(lambda: "clean_up_put_off" in state.text, within_s=30)
            before = len(asked)
            await eventually(lambda: len(asked) > before + 3, within_s=30)
        finally:
            state.stop()
    (line,) = (line for line in state.lines if line["event"] == "clean_up_put_off")
    assert NAME in line["error"] and "these credentials may not write there" in line["error"]
