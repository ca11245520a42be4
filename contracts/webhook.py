"""The delivery of one webhook: what was tried and answered, and what follows. Pure.

The webhook service writes a `WebhookDelivery` into the bucket of deliveries after each try; the edge answers it.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from contracts.bounds import Name, Seconds, UnixSeconds
from contracts.job import JobId

TRIES_MAX = 64
PUT_OFF_MAX = 1000
ORIGIN_CHARS_MAX = 300

DeliveryState = Literal["pending", "delivered", "given_up", "gone"]
Failure = Literal["unreachable", "timeout", "tls", "no_http", "redirect", "status"]
"""The kinds of a failed try, as a client may know them.

`unreachable` is one word for an address that is wrong, not public or not answering, so that it tells nothing of our
network. `redirect` and `status` come with the code that was answered.
"""


class WebhookTry(Struct, frozen=True, kw_only=True):
    """A try: its number from 1, when it began, the HTTP status or None, the failure or None, and seconds it took."""

    number: Annotated[int, Meta(ge=1, le=TRIES_MAX)]
    at: UnixSeconds
    code: Annotated[int, Meta(ge=100, le=999)] | None = None
    failure: Failure | None = None
    duration: Seconds = 0.0


class WebhookDelivery(Struct, frozen=True, kw_only=True, rename={"job_id": "requestId"}):
    """The delivery of a job's ending to its `webhook_url`, of which `host` alone is kept.

    `webhook_id` is the header of that name, the same in every try. It and `created_at` are None until the job has
    ended. `next_at` is when the next try is due, None if there is none. Times are Unix seconds of the broker's clock.
    `gone` means that the target answered 410.
    """

    job_id: JobId
    webhook_id: Name | None = None
    host: Name
    state: DeliveryState = "pending"
    created_at: UnixSeconds | None = None
    next_at: UnixSeconds | None = None
    tries: Annotated[list[WebhookTry], Meta(max_length=TRIES_MAX)] = []


class WebhookDue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The message by which the broker says that a job's webhook is due.

    `put_off` counts how often this try was put off because its target had its share of places. `target` is the scheme,
    host and port that it goes to, None if that is not known yet.
    """

    target: Annotated[str, Meta(max_length=ORIGIN_CHARS_MAX)] | None = None
    put_off: Annotated[int, Meta(ge=0, le=PUT_OFF_MAX)] = 0
