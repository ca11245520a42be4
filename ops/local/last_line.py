"""Reads the last line of a process's log, made readable. `ready` shows it to the user who waits for the process."""

from pathlib import Path
from typing import Any

import msgspec

from contracts.process.log import escaped

TAIL_BYTES = 16 * 1024
SHOWN_CHARS_MAX = 160
PROBES = '"request_served"'
"""Lines with this are left out: `ready` polls the edge's health, and the edge logs each of those requests."""
TEXT = "text"
"""The field of a wrapped line (`contracts.process.wrapping`)."""
_LEFT_OUT = ("event", "timestamp", "service", "level", "rank")


def last_line(log: Path, *, after: int = 0) -> str:
    """Return the last line that has letters or digits and no `PROBES`, safe to print; JSON as its event and fields.

    Cut after `SHOWN_CHARS_MAX`. Only the log's last `TAIL_BYTES` are read, and none before the byte `after`, where an
    earlier run ended. Empty if no such line is among them, or if the log cannot be read.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(after, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = next((line.strip() for line in reversed(lines) if any(map(str.isalnum, line)) and PROBES not in line), "")
    shown = readable(found)
    return shown if len(shown) <= SHOWN_CHARS_MAX else shown[:SHOWN_CHARS_MAX] + "…"


def readable(line: str) -> str:
    """Return a line of a log safe to print: JSON with an `event` as that event and `name=value` fields.

    `_LEFT_OUT` is left out. Of a wrapped line the text is returned, and any other line as it is.
    """
    return escaped(_readable(line))


def _readable(line: str) -> str:
    """Return what `readable` does, not yet escaped."""
    try:
        facts = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return line
    if "event" not in facts or TEXT in facts:
        return str(facts.get(TEXT, line))
    fields = [f"{name}={value}" for name, value in facts.items() if name not in _LEFT_OUT]
    return " ".join([str(facts["event"]), *fields])
