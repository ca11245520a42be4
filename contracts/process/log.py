"""Logging by structlog: a JSON line per fact on standard output, pretty on a terminal.

Every process configures it at its start. No line holds a prompt, a secret or the query of a URL, and no value can break
or disguise a line.
"""

import io
import json
import logging
import re
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import urlsplit

from contracts.process.left_out import left_out

with left_out("rich"):  # for tracebacks on a terminal: ours are escaped ones
    import structlog
    from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor

_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold prompts
)

# Characters that end a line for some reader (C0, C1 with U+0085, U+2028, U+2029), turn the direction of writing, cannot
# be seen, or are lone surrogates. All others stay as they are, readable in every language.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_UNSAFE_IN_TRACEBACK = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))

_encode = json.JSONEncoder(ensure_ascii=False).encode


class _Lines:
    """The output of `line`: standard output once `configure` has set up JSON lines; None means structlog."""

    out: TextIO | None = None


def configure(service: str, **bound: object) -> None:
    """Set up logging for this process; every line carries `service` and `bound`.

    Takes the place of the standard library's handlers, too: warnings and worse of other packages, and Python's own
    warnings, become lines alike. Call it once.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = sys.stdout.isatty()
    last: list[Processor] = (
        [_escaped_values, structlog.dev.ConsoleRenderer(exception_formatter=_escaped_traceback)]
        if pretty
        else [_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False), _escaped_line]
    )
    _write_what_can_be_written()
    _Lines.out = None if pretty else sys.stdout
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, **bound)

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)


def _write_what_can_be_written() -> None:
    """Escape characters that the encoding of standard output does not have, rather than lose the line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def get() -> FilteringBoundLogger:
    """Return the logger: `get().info("job_succeeded", steps=40)`."""
    return structlog.get_logger()


def line(event: str, **facts: str | float) -> None:
    """Log the same line as `get().info(event, **facts)`, past structlog's chain, in a third of the time."""
    if (out := _Lines.out) is None:
        get().info(event, **facts)
        return
    fields: dict[str, Any] = {**facts, "event": event}
    for name, value in structlog.contextvars.get_contextvars().items():
        fields.setdefault(name, value)
    fields |= {"level": "info", "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    out.write(escaped(_encode(fields)) + "\n")
    out.flush()


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


def bound(**facts: object) -> AbstractContextManager[None]:
    """Have every line of this thread or task carry these facts inside the block, also in tasks that begin there."""
    return structlog.contextvars.bound_contextvars(**facts)


def bind(**facts: object) -> None:
    """Have every further line of this task carry these facts too, and those of tasks that it starts."""
    structlog.contextvars.bind_contextvars(**facts)


def forget(*names: str) -> None:
    """Have no further line of this task carry these facts."""
    structlog.contextvars.unbind_contextvars(*names)


def http_request_id() -> str:
    """Return the id of the HTTP request that this line or answer belongs to; empty outside one."""
    return str(structlog.contextvars.get_contextvars().get("http_request_id", ""))


def escaped(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Return the text with every character of `unsafe`, which could break or disguise a line, written as `\\uXXXX`."""
    return unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped_line(_: Any, __: str, line: Any) -> str:
    """Escape a line of JSON, in which such characters stand in strings alone, where `\\uXXXX` means the same."""
    return escaped(line)


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
