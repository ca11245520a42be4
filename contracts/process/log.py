"""Logging by structlog: a JSON line per fact on standard output, pretty on a terminal or by `LOG_FORMAT=console`.

Every process configures it at its start, by `start.configure`. No line holds a prompt, a secret or the query of a URL,
and no value can break or disguise a line.
"""

import io
import json
import logging
import re
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TextIO, cast
from urllib.parse import urlsplit

import msgspec

from contracts.process import clock, stdout
from contracts.process.bound import Facts, bind, bound, forget, held, merge, of_all, of_process
from contracts.process.left_out import left_out

with left_out("rich"):  # for tracebacks on a terminal: ours are escaped ones
    import structlog
    from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor

__all__ = ["bind", "bound", "forget"]

_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold prompts
)

# Characters that end a line for some reader (C0, C1 with U+0085, U+2028, U+2029), turn the direction of writing, cannot
# be seen, or are lone surrogates. All others stay as they are, readable in every language.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_UNSAFE_IN_TRACEBACK = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))

_to_bytes = msgspec.json.Encoder(enc_hook=repr).encode
_with_half_characters = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr).encode


Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]
_NUMBERS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Lines:
    """The output of `line` and its least level, once `configure` has set up JSON lines; structlog's without one."""

    out: TextIO | stdout.Lines | None = None
    least = logging.INFO


def configure(
    service: str, *, level: Level = "info", form: Format | None = None, own_stdout: bool = False, **facts: object
) -> None:
    """Set up logging for this process: lines from `level` on, each of which carries `service` and `facts`.

    Without a `form` lines are JSON off a terminal. Takes the place of the standard library's handlers, too: warnings
    and worse of other packages, and Python's own warnings, become lines alike; what lies below may hold prompts, and is
    left out at every level. With `own_stdout` everything else that this process prints goes to standard error. Call it
    once.
    """
    out = cast("TextIO", stdout.owned(_report)) if own_stdout else stdout.shared()  # it has what structlog asks for
    shared: list[Processor] = [
        merge,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = form == "console" if form else out.isatty()
    last: list[Processor] = (
        [_escaped_values, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_escaped_traceback)]
        if pretty
        else [_tracebacks, _as_json]
    )
    _Lines.out, _Lines.least = None if pretty else out, _NUMBERS[level]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    of_process(service=service, **facts)
    _take_over(logging.StreamHandler(out), _NUMBERS[level], shared, last)


def get() -> FilteringBoundLogger:
    """Return the logger: `get().info("job_succeeded", steps=40)`."""
    return structlog.get_logger()


def line(event: str, *, level: Level = "info", **facts: str | float | None) -> None:
    """Log the same line as `get().info(event, **facts)`, past structlog's chain, in a fifth of the time.

    `level` stands for the method. In a process whose log owns standard output, a line below a warning is written by the
    end of this turn of the event loop.
    """
    if (out := _Lines.out) is None:
        get().log(_NUMBERS[level], event, **facts)
        return
    if (number := _NUMBERS[level]) < _Lines.least:
        return
    rendered = partial(_rendered, event, level, facts, held(), time.time_ns())
    if isinstance(out, stdout.Lines) and number < logging.WARNING:
        out.gather(rendered)
    else:
        out.write(rendered())
        out.flush()


def _rendered(event: str, level: Level, facts: dict[str, Any], bound_facts: Facts, at_ns: int) -> str:
    """Return a line, with its line break, as structlog's chain would make it. Changes `facts`."""
    facts["event"] = event
    for name, value in bound_facts.items():
        facts.setdefault(name, value)
    facts["level"], facts["timestamp"] = level, clock.iso(at_ns)
    return _as_json(None, "", facts) + "\n"


def _report(lost: int) -> str:
    """Return the line that reports so many lines which standard output did not take."""
    return _rendered("lines_lost", "warning", {"count": lost}, of_all(), time.time_ns())


def _take_over(handler: logging.Handler, level: int, shared: Sequence[Processor], last: Sequence[Processor]) -> None:
    """Have lines of the standard library's logging, and Python's warnings, pass the same processors to this handler."""
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, level), force=True)
    logging.captureWarnings(True)


@contextmanager
def silence() -> Generator[None, None, None]:
    """Write no line of `get` below `critical` inside the block, in any thread.

    For a program that tells a person the same in a sentence.
    """
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def http_request_id() -> str:
    """Return the id of the HTTP request that this line or answer belongs to; empty outside one."""
    return str(held().get("http_request_id", ""))


def escaped(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Return the text with every character of `unsafe`, which could break or disguise a line, written as `\\uXXXX`."""
    return unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _as_json(_: Any, __: str, fields: EventDict) -> str:
    """Return a line of JSON, with escapes where characters are unsafe: there such a character means the same."""
    try:
        line = _to_bytes(fields)
    except (UnicodeEncodeError, TypeError, ValueError):  # lone surrogates; numbers and keys that only `json` takes
        return escaped(_with_half_characters(fields))
    text = line.decode()
    return text if line.isascii() and b"\x7f" not in line else escaped(text)


def _escaped_values(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape the texts of a line for a terminal."""
    return {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped_traceback(out: TextIO, error: ExcInfo) -> None:
    """Write a traceback for a terminal, escaped but for its line breaks."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    out.write(escaped(text.getvalue(), _UNSAFE_IN_TRACEBACK))


def without_query(url: str) -> str:
    """Return an image URL as a log may show it: without query, credentials or the body of a `data:` URL.

    A URL that cannot be parsed is `unreadable`.
    """
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.netloc else f"{parts.scheme[:8]}:…"
    except ValueError:
        return "unreadable"
