"""Turns a broker's refusal to be provisioned into one sentence that says what to set or to grant. For `provision`."""

from collections import Counter

from nats.js.errors import APIError

from contracts import inventory
from contracts.broker import Bus
from ops.streams import Settings, consumers

NEEDED = "provisioning needs the rights of the user provision, which stand in ops/nats/README.md"

_STREAMS, _CONSUMERS = len(inventory.STREAMS), len(inventory.DURABLES)
_OF_A_STREAM = max(Counter(stream for stream, _ in consumers(Settings())).values())
"""The most durables that one stream has: an account's limit is for each stream."""
_ADVICE = {
    10113: "this account wants a size of every stream: set STREAM_BYTES_MAX, such as 67108864 (bytes)",
    10122: "give the account streams of that size, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10047: "give the broker or the account more storage, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10028: "give the broker or the account more memory",
    10023: "give the broker or the account more storage, or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10002: f"give the account what {_STREAMS} streams and {_CONSUMERS} consumers need, "
    "or lower LOG_BYTES_MAX and STREAM_BYTES_MAX (bytes)",
    10026: f"allow this account {_OF_A_STREAM} consumers of a stream, and one more for each state service",
    10027: f"allow this account {_STREAMS} streams",
    10039: "enable JetStream for this account",
    10076: "enable JetStream (`jetstream { … }` in the broker's configuration)",
    10074: "set NATS_REPLICAS=1, or form a cluster",
    10065: "another stream has these subjects already: give WanJet an account of its own",
    10058: "another stream has this name already: give WanJet an account of its own",
}
"""What helps, by JetStream's error code."""


class Denied(Exception):
    """The broker's user lacks a right; the text says which."""


def check_rights(broker: Bus, what: str) -> None:
    """Raise `Denied` if the broker has denied a right to this process; `what` names the request in the sentence."""
    if (denied := broker.complaints.denied) is not None:
        raise Denied(f"the broker does not let this user {denied.verb} to {denied.subject}, {what}; {NEEDED}")


def sentence(error: Exception) -> str:
    """Return why the broker refused a request, with advice if the error's code is known.

    For an error that is no `APIError` that is its text.
    """
    if not isinstance(error, APIError):
        return str(error)
    advice = _ADVICE.get(error.err_code or 0)
    return f"the broker refuses: {error.description} (code {error.err_code})" + (f"; {advice}" if advice else "")
