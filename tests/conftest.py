"""What the tests share: a real broker on a free port, and a way to wait that is not sleep."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from contracts import subjects
from contracts.broker import Bus, bus
from ops import provision
from ops.local.ports import free_ports

T = TypeVar("T")
REPOSITORY = Path(__file__).parent.parent
NATS_SERVER = str(Path(sys.executable).parent / "nats-server")
POLL_S = 0.1
STOP_WITHIN_S = 40

UNKNOWN_HOST = (
    "unshare",
    "--uts",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'hostname gpu-7.invalid; exec "$@"',
    "sh",
)
"""What a command is run under so that this machine has a name which resolves to nothing."""

PLANTED = "planted-canary"
"""Stands in the prompts, URL queries and idempotency keys of the tests, and may stand in no log of any process."""


async def eventually(look: Callable[[], Awaitable[T] | T], *, within_s: float = 10) -> T:
    """The first truthy answer of `look`; fails with the last one after `within_s` seconds."""
    answer: T | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = look()
                answer = await found if isinstance(found, Awaitable) else found
                if answer:
                    return answer
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s; last answer: {answer!r}") from None


async def all_folded(link: Bus) -> bool:
    """Whether the state service has seen and acknowledged the whole log."""
    consumer = await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    return consumer.num_pending == 0 and consumer.num_ack_pending == 0


def free_port() -> int:
    return free_ports(1)[0]


class Broker:
    """A real nats-server with our configuration, which can be killed and started again."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.port, self.monitor_port = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.monitor_url = f"http://127.0.0.1:{self.monitor_port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For who speaks to it."""
        return {"NATS_URL": self.url, "NATS_MONITOR_URLS": self.monitor_url}

    @property
    def command(self) -> list[str]:
        return [str(NATS_SERVER), "-c", "ops/nats/nats-server.conf"]

    @property
    def variables(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            env={
                **self.variables,
                "NATS_LISTEN": f"127.0.0.1:{self.port}",
                "NATS_MONITOR": f"127.0.0.1:{self.monitor_port}",
                "NATS_STORE": str(self.store),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Generator[Broker, None, None]:
    broker = Broker(tmp_path / "jetstream")
    broker.start()
    yield broker
    broker.kill()


def provision_settings(broker: Broker, **changes: object) -> provision.Settings:
    settings = provision.Settings(nats_url=broker.url, nats_monitor_urls=(broker.monitor_url,))
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture
async def link(broker: Broker) -> AsyncGenerator[Bus, None]:
    """A connection to a provisioned broker."""
    async with bus.connect(broker.url, name="test") as link:
        await provision.provision(link, provision_settings(broker))
        yield link


class Process:
    """One of ours as it runs in production: started by its command, ended by a signal, its log kept for reading."""

    prefix: tuple[str, ...] = ()
    """The command that Python is started under, if any."""

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        self.log = log
        self._arguments, self._variables = arguments, variables
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> "Process":
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [*self.prefix, sys.executable, *self._arguments],
                cwd=REPOSITORY,
                env=environment(**self._variables),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def send(self, number: int) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def wait(self, within_s: float) -> int:
        """Wait for an end that comes by itself, and return the exit code."""
        assert self._running is not None
        return self._running.wait(within_s)

    def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait()
        self._check_log()

    def _check_log(self) -> None:
        assert PLANTED not in self.text, "a prompt, a query or a key stands in the log"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code. One that does not end is killed, and fails the test."""
        assert self._running is not None
        self._running.send_signal(number)
        try:
            code = self._running.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
            raise AssertionError(f"{self._arguments} did not stop:\n{self.text[-2000:]}") from None
        self._check_log()
        return code

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]


def completed(*arguments: str, within_s: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, run to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def output_of(*arguments: str, within_s: float, **variables: str) -> str:
    """What Python prints with these arguments; a bad end fails the test with what it complained of."""
    done = completed(*arguments, within_s=within_s, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(**variables: str) -> dict[str, str]:
    """For a process of ours: this one's, less what the tests must not inherit."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **variables}
