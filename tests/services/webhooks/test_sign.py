import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from contracts.process import env
from services.webhooks.__main__ import Settings
from services.webhooks.sign import secrets_in, signed_headers

ONE, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
BODY = '{"type":"JobSucceeded","reason":"猫"}'.encode()


def headers(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return signed_headers(secrets_in(" ".join(secrets)), "5d41402abc4b2a76_succeeded", int(time.time()), body)


def test_the_package_of_standard_webhooks_verifies_a_signature() -> None:
    assert Webhook(ONE).verify(BODY, headers(ONE))["type"] == "JobSucceeded"


def test_during_a_rotation_either_secret_verifies() -> None:
    signed = headers(OTHER, ONE)
    for secret in (ONE, OTHER):
        Webhook(secret).verify(BODY, signed)


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_whatever_is_changed_the_signature_no_longer_fits(changed: str) -> None:
    signed = headers(ONE)
    body = BODY + b" " if changed == "body" else BODY
    signed |= {"webhook-id": "x"} if changed == "webhook-id" else {}
    signed |= {"webhook-timestamp": str(int(time.time()) - 1)} if changed == "webhook-timestamp" else {}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER if changed == "secret" else ONE).verify(body, signed)


@pytest.mark.parametrize("text", [f"{ONE},{OTHER}", f" {ONE}\n{OTHER} ", f"{ONE}, {OTHER}"])
def test_secrets_are_parted_by_blanks_or_commas(text: str) -> None:
    assert secrets_in(text) == (bytes([1]) * 32, bytes([2]) * 32)


@pytest.mark.parametrize(
    "text", ["hunter2hunter2", "whsec_", "whsec_c2hvcnQ=", f"whsec_{'A' * 100}", f"{ONE} hunter2", "whsec_ä", ONE + "!"]
)
def test_a_wrong_secret_ends_the_start_and_is_not_shown(text: str) -> None:
    with pytest.raises(env.BadSetting) as refusal:
        env.read(Settings, {"WEBHOOK_SECRET": text})
    assert "WEBHOOK_SECRET is not shown; it may be whsec_ and 24 to 64 bytes in base64" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_without_a_secret_the_start_ends_with_a_sentence() -> None:
    with pytest.raises(env.BadSetting, match="WEBHOOK_SECRET must be set; it may be whsec_"):
        env.read(Settings, {})
