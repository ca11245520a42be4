"""Wrap what a process and its children print as lines of JSON, so that every line of a log can be searched alike.

`ops.local.json_lines` does so for each process of a local stack, and `inference.cluster` for its ranks. A small process
beside them reads both standard streams until all who could write are gone, and so has the last words of one that was
killed too. Lines that are JSON objects already pass unchanged. Needs no package.
"""

import json
import os
import re
import selectors
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from contracts.process import clock

WRAPPED = "WANJET_LINES_WRAPPED"
"""Set in the environment of a process whose lines are wrapped already."""
READ_BYTES = 64 * 1024
LINE_BYTES_MAX = 1024**2
"""A longer line is cut in two."""
LEVELS = ("debug", "info", "warning", "error")

_MARKS = re.compile(
    r"\[(?P<nats>DBG|TRC|INF|WRN|ERR|FTL)\]"
    r"|^\d{4}-\d\d-\d\d \S+ (?P<supervisor>TRAC|DEBG|INFO|WARN|ERRO|CRIT) "
    r"|^\[?(?P<google>[IWEF])\d{4} "
    r"|(?P<python>Traceback \(most recent call last\)|^\w+(\.\w+)*(Error|Exception)\b|\b\w*Warning\b)"
)
"""How nats-server, supervisord, torch and Python mark the level of a line."""
_BY_LETTER = {"D": "debug", "T": "debug", "I": "info", "W": "warning", "E": "error", "F": "error", "C": "warning"}
"""By the first letter of the mark. supervisord's CRIT stands before what it says at every start, too."""

Sink = Callable[[str], None]
"""Takes one line, without its line break."""


def wrap(service: str, sink: Sink, environ: Mapping[str, str] = os.environ) -> None:
    """Have `sink` get each line that this process and its children print from now on, in a forked process.

    By `LOG_FORMAT=console` lines stay as they are; below `LOG_LEVEL` text is dropped. Call it before any thread starts.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.pipe(), os.pipe()
    if os.fork() == 0:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it ends with the last who could write
            os.close(out[1])
            os.close(err[1])
            form = as_it_is if environ.get("LOG_FORMAT") == "console" else as_json
            _pass_on(service, {out[0]: "stdout", err[0]: "stderr"}, sink, form, environ.get("LOG_LEVEL") or "info")
        finally:
            os._exit(0)
    for (reading, writing), number in ((out, 1), (err, 2)):
        os.dup2(writing, number)
        os.close(writing)
        os.close(reading)
    # Those of before may remember that they wrote to a file, in which they could seek.
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors, closefd=False)


def as_it_is(line: str, _service: str, _stream: str, _least: str) -> str | None:
    """Return the line unchanged."""
    return line


def as_json(line: str, service: str, stream: str, least: str) -> str | None:
    """Return a line as JSON: unchanged if it is an object, else as the text of one; None for one to be dropped.

    Dropped are blank lines, and text of a level below `least`. `stream` is `stdout` or `stderr`; what is written to
    the latter without a mark is a warning.
    """
    if line.startswith("{"):
        with suppress(ValueError, RecursionError):
            if isinstance(json.loads(line), dict):
                return line
    level = level_of(line, "info" if stream == "stdout" else "warning")
    if not line.strip() or (least in LEVELS and LEVELS.index(level) < LEVELS.index(least)):
        return None
    facts = {"text": line.rstrip("\r"), "stream": stream, "event": "text_printed", "service": service, "level": level}
    return json.dumps({**facts, "timestamp": clock.iso()})


def level_of(line: str, unmarked: str) -> str:
    """Return the level that a line of somebody else's log is marked with, or `unmarked`."""
    if (mark := _MARKS.search(line)) is None:
        return unmarked
    if mark["python"]:
        return "warning" if mark["python"].endswith("Warning") else "error"
    return _BY_LETTER[(mark["nats"] or mark["supervisor"] or mark["google"])[0]]


def _pass_on(
    service: str, streams: dict[int, str], sink: Sink, form: Callable[[str, str, str, str], str | None], least: str
) -> None:
    """Read the streams, by their descriptors, until the end of both, and give `sink` each line in its new form."""
    rest = dict.fromkeys(streams, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in streams:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                read = os.read(key.fd, READ_BYTES)
                *lines, left = (rest[key.fd] + read).split(b"\n")
                if not read:
                    selector.unregister(key.fd)
                if left and (not read or len(left) > LINE_BYTES_MAX):
                    lines, left = [*lines, left], b""
                rest[key.fd] = left
                for line in lines:
                    text = form(line.decode(errors="backslashreplace"), service, streams[key.fd], least)
                    if text is not None:
                        with suppress(OSError):  # a full disk: the line is lost, and nobody waits for the log
                            sink(text)
