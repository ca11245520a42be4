"""Turns a broker's refusal to be provisioned into one sentence that says what to set or to grant. For `provision`."""

from nats.js.errors import APIError

from contracts.broker import Bus
from ops.streams import Settings, streams

NEEDED = "provisioning needs to publish to $JS.API.> and $KV.video-secrets.>, and to subscribe to _INBOX_provision.>"

_ADVICE = {
    10113: "this account wants a size of every stream: set STREAM_BYTES_MAX, such as 67108864 (bytes)",
    10122: "give the account streams of that size, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10047: "give the broker or the account more storage, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10028: "give the broker or the account more memory",
    10023: "give the broker or the account more storage, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10002: "give the account what 7 streams and 2 consumers need, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10026: "allow this account 2 consumers",
    10027: "allow this account 7 streams",
    10039: "enable JetStream for this account",
    10076: "enable JetStream (`jetstream { … }` in the broker's configuration)",
    10074: "set NATS_REPLICAS=1, or form a cluster",
    10065: "another stream has these subjects already: give WanJet an account of its own",
    10058: "another stream has this name already: give WanJet an account of its own",
}
"""What helps, by JetStream's error code."""


API_TOKENS = (
    "$JS",
    "API",
    "STREAM",
    "CONSUMER",
    "CREATE",
    "DURABLE",
    "UPDATE",
    "INFO",
    "MSG",
    "GET",
    "DIRECT",
    "$KV",
    "_INBOX_provision",
)
_TOKENS = {
    token.lower(): token
    for token in (
        *API_TOKENS,
        *(str(config.name) for config in streams(Settings())),
    )
}


class Denied(Exception):
    """The broker's user lacks a right; the text says which."""


def check_rights(broker: Bus, what: str) -> None:
    """Raise `Denied` if the broker has denied a right to this process; `what` names the request in the sentence."""
    if broker.denied is not None:
        denied = broker.denied
        subject = as_written(denied.subject)
        raise Denied(f"the broker does not let this user {denied.verb} to {subject}, {what}; {NEEDED}")


def as_written(subject: str) -> str:
    """Return a subject with the capital letters of WanJet's subjects, which nats-py's errors have in lower case."""
    return ".".join(_TOKENS.get(token, token) for token in subject.split("."))


def sentence(error: Exception) -> str:
    """Return why the broker refused a request, with advice if the error's code is known.

    For an error that is no `APIError` that is its text.
    """
    if not isinstance(error, APIError):
        return str(error)
    advice = _ADVICE.get(error.err_code or 0)
    return f"the broker refuses: {error.description} (code {error.err_code})" + (f"; {advice}" if advice else "")
