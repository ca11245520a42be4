"""Counts of what went wrong between a process and the broker. `client` holds them, `numbers` makes metrics of them."""

from collections import Counter


class Counts:
    """The counts of one connection, for as long as its client lives. By the name of its durable, where that is said."""

    def __init__(self) -> None:
        self.publish_retries = 0
        """Publishes that were sent again, since no answer came or none that settles whether the message is stored."""
        self.publishes_given_up = 0
        self.request_retries = 0
        """Questions that were asked again."""
        self.denials = 0
        """Errors that say that this user has no right to a subject."""
        self.deliveries: Counter[str] = Counter()
        self.redeliveries: Counter[str] = Counter()
        """Messages that a durable has given this process, and those among them that somebody had been given before."""
