"""The subjects of requests and their answers: the inboxes of each user of the broker, JetStream's API, `nats service`.

Which user may ask what stands in `ops.nats.rights`; `broker` asks. Pure.
"""

from contracts import subjects

API = "$JS.API"
ADVISORIES = "$JS.EVENT.ADVISORY.>"
ALL_SERVICES = "$SRV.>"


def inbox_prefix(user: str) -> str:
    """Return how the inboxes of a user begin; no other user may subscribe to them."""
    return f"_INBOX_{user}"


def inboxes_of(user: str) -> str:
    """Return the pattern of a user's inboxes."""
    return f"{inbox_prefix(user)}.>"


def service_name(service: str) -> str:
    """Return the name under which `nats service` lists the processes of a kind, such as `edge`."""
    return f"wanjet-{service}"


def asked_of(service: str) -> list[str]:
    """Return the subjects on which the processes of a kind are asked: by `nats service`, and for their figures."""
    name = service_name(service)
    verbs = [f"$SRV.{verb}" for verb in ("PING", "INFO", "STATS")]
    return [f"{verb}{whom}" for verb in verbs for whom in ("", f".{name}", f".{name}.*")] + [
        subjects.figures_of(service)
    ]


def acknowledgements_of(stream: str, durable: str) -> list[str]:
    """Return the patterns on which a durable's messages are acknowledged, in both of JetStream's forms."""
    return [f"$JS.ACK.{stream}.{durable}.>", f"$JS.ACK.*.*.{stream}.{durable}.>"]
