"""The texts of a submission that make no video: the model that a job is for, metadata, and the webhook. Pure."""

from typing import Annotated

from msgspec import Meta

from contracts.bounds import NAME_CHARS_MAX
from contracts.words import form

ModelName = Annotated[
    str, Meta(min_length=1, max_length=NAME_CHARS_MAX, extra=form("the name of a served model, or default"))
]
DEFAULT_MODEL = "default"
"""The value of `model` for whichever model is served."""
METADATA_PAIRS_MAX, METADATA_BYTES_MAX = 16, 2048
METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX = 64, 512
Metadata = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=METADATA_KEY_CHARS_MAX)],
        Annotated[str, Meta(max_length=METADATA_VALUE_CHARS_MAX)],
    ],
    Meta(
        max_length=METADATA_PAIRS_MAX,
        extra=form(
            f"an object of up to {METADATA_PAIRS_MAX} texts, with names of 1 to {METADATA_KEY_CHARS_MAX} characters "
            f"and values of up to {METADATA_VALUE_CHARS_MAX}"
        ),
    ),
]
"""What a client wants to be given back with the job; the product never reads it."""
WEBHOOK_URL_CHARS_MAX = 2048
WebhookUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=WEBHOOK_URL_CHARS_MAX,
        extra=form(f"an http:// or https:// address of up to {WEBHOOK_URL_CHARS_MAX} characters"),
    ),
]
"""The address that a job's ending is posted to. It may hold a secret, so no log and no status has it."""
