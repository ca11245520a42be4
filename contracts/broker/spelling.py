"""Restore the capital letters of a subject that nats-py has in lower case, as in its errors. For `complaints`. Pure."""

from contracts import inventory

_API_TOKENS = (
    "$JS", "API", "ACK", "STREAM", "CONSUMER", "CREATE", "DURABLE", "UPDATE", "DELETE", "PURGE", "INFO", "NAMES",
    "LIST", "MSG", "NEXT", "GET", "DIRECT", "PAUSE", "RESET", "$KV", "$SRV", "PING", "STATS", "EVENT", "ADVISORY",
)  # fmt: skip
_INBOX = "_inbox_"
_TOKENS = {token.lower(): token for token in (*_API_TOKENS, *inventory.STREAMS)}


def as_written(subject: str) -> str:
    """Return a subject with the capital letters that the subjects of NATS and the names of our streams have."""
    if subject.startswith(_INBOX):
        return _INBOX.upper() + subject.removeprefix(_INBOX)
    if not subject.startswith("$"):
        return subject
    return ".".join(_TOKENS.get(token, token) for token in subject.split("."))
