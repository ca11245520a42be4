"""The last line of a log as a person reads it, for whoever waits for the process that writes the log."""

from pathlib import Path
from typing import Any

import msgspec

from contracts.process.log import escaped

TAIL_BYTES = 16 * 1024
SHOWN_CHARS_MAX = 160
PROBES = '"request_served"'
"""Whoever waits asks for the edge's health again and again, and is not to be shown his own questions."""
_LEFT_OUT = ("event", "timestamp", "service", "level", "rank")


def last_line(log: Path, *, after: int = 0) -> str:
    """Return the last line that says something, short and safe to print; empty if there is none.

    What stands before the byte `after` is of an earlier run."""
    try:
        with log.open("rb") as file:
            file.seek(max(after, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = next((line.strip() for line in reversed(lines) if any(map(str.isalnum, line)) and PROBES not in line), "")
    shown = escaped(_readable(found))
    return shown if len(shown) <= SHOWN_CHARS_MAX else shown[:SHOWN_CHARS_MAX] + "…"


def _readable(line: str) -> str:
    """Return a line of JSON as its event and its facts; any other line as it is."""
    try:
        facts = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return line
    if "event" not in facts:
        return line
    told = [f"{name}={value}" for name, value in facts.items() if name not in _LEFT_OUT]
    return " ".join([str(facts["event"]), *told])
