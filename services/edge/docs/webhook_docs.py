"""The meaning of every field of a webhook's delivery, in words, for `field_docs`."""

from msgspec import Struct

from contracts.webhook import WebhookDelivery, WebhookTry

MEANINGS_OF_DELIVERIES: dict[type[Struct], dict[str, str]] = {
    WebhookDelivery: {
        "requestId": "The job's id.",
        "webhook_id": "The header `webhook-id` of every try; null until the job has ended.",
        "host": "The host of `webhook_url`.",
        "state": "`pending`, then for good `delivered`, `given_up` (24 hours are over) or `gone` (it answered 410).",
        "created_at": "When the job's ending was taken up, in Unix seconds; null until then.",
        "next_at": "When the next try is due, in Unix seconds; null if there is none.",
        "tries": "Every try in its order.",
    },
    WebhookTry: {
        "number": "Counts from 1.",
        "at": "When it began, in Unix seconds.",
        "code": "The HTTP status that was answered; null without an answer.",
        "failure": (
            "Null for a success. `unreachable`: the address is wrong, not public, or nobody answers there; `timeout`; "
            "`tls`: no certificate that is good for the host; `no_http`: the connection broke, or no HTTP came; "
            "`redirect` and `status`: see `code`."
        ),
        "duration": "In seconds.",
    },
}
