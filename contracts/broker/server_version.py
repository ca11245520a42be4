"""Check that a nats-server can serve WanJet, by the version and limits that it names when a client connects. Pure."""

import re

from msgspec import Struct

VERSION_MIN = (2, 12)
PAYLOAD_BYTES_MIN = 128 * 1024

_VERSION = re.compile(r"v?([0-9]{1,6})\.([0-9]{1,6})")


class Server(Struct, frozen=True):
    """A server as it describes itself: its version, such as 2.12.1, and the largest message that it takes."""

    version: str
    payload_bytes_max: int

    @property
    def objection(self) -> str | None:
        """Return why this server cannot serve WanJet, in one sentence; None if it can.

        A version that cannot be read, such as that of a build from source, is taken as new enough.
        """
        found = _VERSION.match(self.version)
        if found and (int(found[1]), int(found[2])) < VERSION_MIN:
            wanted = ".".join(map(str, VERSION_MIN))
            return f"the broker is nats-server {self.version}, and {wanted} or newer is needed"
        if 0 < self.payload_bytes_max < PAYLOAD_BYTES_MIN:
            return f"the broker takes messages of {self.payload_bytes_max} bytes, and {PAYLOAD_BYTES_MIN} are needed"
        return None
