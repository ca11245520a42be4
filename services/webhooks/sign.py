"""Sign a webhook by Standard Webhooks: HMAC-SHA256 over id, time and body, with every secret. Pure.

`deliver` sends the headers. During a rotation there are several secrets, and one signature for each. Source:
https://github.com/standard-webhooks/standard-webhooks, version 1.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Annotated

from msgspec import Meta

from contracts.words import form

PREFIX = "whsec_"
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
SECRETS_MAX = 8

_PARTED = re.compile(r"[\s,]+")


def secrets_in(text: str) -> tuple[bytes, ...]:
    """Return the secrets in a setting, parted by blanks or commas. Raises `ValueError` if one is none, or for too many.

    The errors do not hold the text.
    """
    words = [word for word in _PARTED.split(text) if word]
    if not 0 < len(words) <= SECRETS_MAX:
        raise ValueError("too few secrets or too many")
    return tuple(_secret(word) for word in words)


def _secret(word: str) -> bytes:
    """Return the bytes of one secret. Raises `ValueError`."""
    if not word.startswith(PREFIX):
        raise ValueError("a secret without its prefix")
    try:
        secret = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret that is no base64") from None
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise ValueError("a secret of another length")
    return secret


def _are_secrets(text: str) -> bool:
    try:
        secrets_in(text)
    except ValueError:
        return False
    return True


WebhookSecret = Annotated[
    str,
    Meta(
        extra=form(
            f"{PREFIX} and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64, or up to {SECRETS_MAX} of those, "
            "parted by blanks or commas",
            _are_secrets,
            is_secret=True,
        )
    ),
]
"""The type of `WEBHOOK_SECRET`."""


def signed_headers(secrets: tuple[bytes, ...], webhook_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers that identify, date and sign a webhook. `at` is in Unix seconds; the id holds no dot."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), at, body)
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
