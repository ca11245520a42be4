"""The limits of one HTTP connection, each against one kind of slow or greedy client. `limited_protocol` keeps them."""

from msgspec import Struct


class HttpLimits(Struct, frozen=True):
    """The numbers that production runs with; tests pass others. One for the server."""

    head_bytes_max: int = 64 * 1024
    headers_max: int = 128
    """Tiny headers cost far more memory than their bytes."""
    pipelined_max: int = 20
    """How many requests of one connection may wait for the answers before theirs."""
    handshake_within_s: float = 10.0
    """How long the handshake of TLS may take."""
    head_within_s: float = 10.0
    body_silence_s_max: float = 60.0
    body_within_s: float = 600.0
    """The largest submission at 50 kB/s."""
    unread_within_s: float = 60.0
    """How long an answer may wait for the client to read it."""
    linger_s: float = 10.0
    """How long a connection stays open after its last answer: to close at once would reset it, and lose an answer that
    the client has not read yet."""
