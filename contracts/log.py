"""structlog → one JSON line per fact on standard output, pretty on a terminal. No prompts, no secrets, no queries."""

import logging
import sys
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger, Processor

_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold prompts
)


def configure(service: str, **bound: object) -> None:
    """Set up logging for this process, the standard library's included; `bound` stands in every line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = sys.stdout.isatty()
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
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


def get() -> FilteringBoundLogger:
    return structlog.get_logger()


def bound(**facts: object) -> AbstractContextManager[None]:
    """Every line of this thread or task carries these facts inside the block."""
    return structlog.contextvars.bound_contextvars(**facts)


def request_id() -> str:
    """The id of the request that this line or answer belongs to; empty outside one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def without_query(url: str) -> str:
    """An image URL as a log may show it: no query, no credentials, no `data:` body."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.netloc else f"{parts.scheme[:8]}:…"
    except ValueError:
        return "unreadable"
