"""A network of its own for each of three brokers, on one bridge, and ways to cut it. Linux, root and iproute2.

A cut poisons the sender's neighbour table: its frames go to an address that nobody has. Nothing is refused and no
socket is closed, as with a cable that was pulled. Each broker has two addresses: one for brokers and their clients,
which is cut, and one for whoever watches, which is not.
"""

import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import product

from tests.chaos.soak.brokers import NODES, Place

NOBODY = "02:de:ad:00:00:01"
HOST = 1
CLIENT_PORT, CLUSTER_PORT, MONITOR_PORT = 4222, 6222, 8222


def unavailable() -> str | None:
    """Why there can be no such network here; None where there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    return None if shutil.which("ip") else "`ip` is not there (Debian: iproute2)"


class Network:
    """The bridge and its namespaces. Members are numbered 11, 12 and 13; 1 is the machine itself."""

    def __init__(self) -> None:
        self._name = f"wj{os.getpid()}"
        self._subnet = os.getpid() % 250 + 1
        self.members = [11 + number for number in range(NODES)]

    def address(self, member: int) -> str:
        """Where brokers and their clients meet."""
        return f"10.213.{self._subnet}.{member}"

    def watched_at(self, member: int) -> str:
        """The address that is never cut."""
        return f"10.214.{self._subnet}.{member}"

    def prefix(self, member: int) -> tuple[str, ...]:
        """The command under which a process is in a member's network."""
        return ("ip", "netns", "exec", self._namespace(member))

    def places(self) -> list[Place]:
        return [
            Place(
                client=f"{self.address(member)}:{CLIENT_PORT}",
                cluster=f"{self.address(member)}:{CLUSTER_PORT}",
                monitor=f"{self.watched_at(member)}:{MONITOR_PORT}",
                prefix=self.prefix(member),
            )
            for member in self.members
        ]

    def make(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        for address in (self.address(HOST), self.watched_at(HOST)):
            _ip("address", "add", f"{address}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for member in self.members:
            inside, port = self._namespace(member), self._namespace(member)
            _ip("netns", "add", inside)
            _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", inside)
            _ip("link", "set", port, "master", self._name, "up")
            for address in (self.address(member), self.watched_at(member)):
                _ip("-n", inside, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", inside, "link", "set", device, "up")

    def remove(self) -> None:
        for member in self.members:
            _ip("link", "delete", self._namespace(member), check=False)  # the namespace would take its time over it
            _ip("netns", "delete", self._namespace(member), check=False)
        _ip("link", "delete", self._name, check=False)

    @contextmanager
    def cut(self, senders: Sequence[int], receivers: Sequence[int]) -> Generator[None, None, None]:
        """What any of these sends to any of those is lost, for the length of the block."""
        pairs = [(sender, receiver) for sender, receiver in product(senders, receivers) if sender != receiver]
        try:
            for sender, receiver in pairs:
                self._neighbour("replace", sender, receiver, "lladdr", NOBODY, "nud", "permanent")
            yield
        finally:
            for sender, receiver in pairs:
                self._neighbour("delete", sender, receiver)

    def _neighbour(self, verb: str, sender: int, receiver: int, *how: str) -> None:
        inside, device = ((), self._name) if sender == HOST else (("-n", self._namespace(sender)), "eth0")
        _ip(*inside, "neighbour", verb, self.address(receiver), "dev", device, *how)

    def _namespace(self, member: int) -> str:
        return f"{self._name}-{member}"


@contextmanager
def network() -> Generator[Network, None, None]:
    """The network for the length of the block."""
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)
