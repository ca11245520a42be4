"""A real nats-server for tests: start and kill one, provision it, ask how far its log has been read."""

import os
import signal
import subprocess
from pathlib import Path

import msgspec

from contracts import subjects
from contracts.broker import Bus
from ops import provision
from ops.nats import keys
from tests.kit import auth
from tests.kit.machine import NATS_SERVER, REPOSITORY, free_port

TEST_USER = "test"
"""The user, and its password, that a test has at its broker: it may do anything."""


class NatsServer:
    """A process of nats-server, which can be killed and started again. Subclasses start the process."""

    _process: subprocess.Popen[bytes] | None = None

    def launch(self, command: list[str], variables: dict[str, str]) -> None:
        """Start the process with these environment variables alone."""
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:  # its threads still answer until all of them are stopped
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait()


class Broker(NatsServer):
    """A real nats-server with the configuration of production, its users and their rights, on free ports.

    `url` is for tests themselves: it names a user who may do anything. `environment` is for processes under test, each
    of which is its own user, whose keys are in `keys`. Can be killed and started again on the same store; whoever
    starts a broker kills it.
    """

    def __init__(self, store: Path) -> None:
        self.store, self.keys = store, store.with_name(f"{store.name}-keys")
        self.port, self.monitor_port = free_port(), free_port()
        self.address = f"nats://127.0.0.1:{self.port}"
        self.url = self.url_at(self.port)
        self._conf = self.renew_users() / "nats-server.conf"
        self.monitor_url = f"http://127.0.0.1:{self.monitor_port}"

    @staticmethod
    def url_at(port: int) -> str:
        """Return `url`, but with another port, such as that of a proxy."""
        return f"nats://{TEST_USER}:{TEST_USER}@127.0.0.1:{port}"

    def renew_users(self) -> Path:
        """Make the keys that are missing and the users of the configuration; return the folder of the configuration."""
        return keys.make(self.keys, passwords={TEST_USER: TEST_USER})

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process that is to speak to this broker."""
        return {
            "NATS_URL": self.address,
            "NATS_KEYS": str(self.keys),
            "NATS_MONITOR_URLS": self.monitor_url,
            "AUTH": auth.AUTH,
        }

    @property
    def command(self) -> list[str]:
        return [str(NATS_SERVER), "-c", str(self._conf)]

    @property
    def variables(self) -> dict[str, str]:
        return {}

    @property
    def own_variables(self) -> dict[str, str]:
        """The environment variables that the configuration reads."""
        return {
            "NATS_LISTEN": f"127.0.0.1:{self.port}",
            "NATS_MONITOR": f"127.0.0.1:{self.monitor_port}",
            "NATS_STORE": str(self.store),
        }

    def start(self) -> None:
        self.launch(self.command, {**self.variables, **self.own_variables})


def provision_settings(broker: Broker, **changes: object) -> provision.Settings:
    settings = provision.Settings(nats_url=broker.url, nats_monitor_urls=(broker.monitor_url,))
    return msgspec.structs.replace(settings, **changes)


async def all_folded(link: Bus) -> bool:
    """Return whether the state service has read and acknowledged the whole log.

    The broker may count a message as pending only after it has acknowledged it to its publisher, hence the sequences.
    """
    log = (await link.stream(subjects.EVENTS_STREAM)).state
    consumer = await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    read = 0 if consumer.delivered is None else consumer.delivered.stream_seq
    return read >= log.last_seq and consumer.num_pending == 0 and consumer.num_ack_pending == 0
