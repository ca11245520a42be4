"""Compare the second half of `ops/logs.md` with the calls that log, found in the code.

`python -m tests.ops.test_logs` writes that half anew. The first half, what a job's lines are, is written by hand.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts.plan import Plan
from contracts.process import wrapping
from contracts.stores.trouble import Trouble
from tests.kit.machine import REPOSITORY

PAGE = REPOSITORY / "ops" / "logs.md"
FOLDERS = ("contracts", "services", "inference", "ops")
METHODS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
TROUBLE = tuple(Trouble("", "", "", "", "", lasting=False).fields)
SPREAD = {
    ("store_unusable", "trouble.fields"): TROUBLE,
    ("store_unusable", "found.fields"): TROUBLE,
    ("jobs_wait_for_store", "trouble.fields"): TROUBLE,
    ("job_started", "plan"): Plan.__struct_fields__,
    ("image_not_fetched", "setting"): ("allowed_by",),
}
"""The fields that a call gives as `**name`, by event and name."""
HEAD = """## Every event

Made from the code by `just logs`; a test compares.

"""
"""Opens the part of the page that is made from the code. What stands before it is written by hand."""


@dataclass(frozen=True)
class Logged:
    """One event of one module."""

    event: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    where: str


def calls() -> Iterator[Logged]:
    """Every event that the code logs, by module."""
    for folder in FOLDERS:
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and file.name != "log.py":
                    yield from logged(node, str(file.relative_to(REPOSITORY)))


def logged(call: ast.Call, where: str) -> Iterator[Logged]:
    """What a call logs, if it is one of `log.get().warning("event", …)` or `log.line("event", level=…, …)`."""
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Attribute(value=ast.Name("log"), attr="get")), attr=method):
            levels = (METHODS[method],)
        case ast.Attribute(value=ast.Name("log"), attr="line"):
            level = next((each.value for each in call.keywords if each.arg == "level"), ast.Constant("info"))
            levels = texts(level)
        case _:
            return
    for event in texts(call.args[0]):
        fields = [name for each in call.keywords if each.arg != "level" for name in names(event, each)]
        traceback = ["exception"] if call.func.attr == "exception" else []
        yield Logged(event, levels, (*fields, *traceback), where)


def names(event: str, keyword: ast.keyword) -> tuple[str, ...]:
    if keyword.arg is not None:
        return ("exception" if keyword.arg == "exc_info" else keyword.arg,)
    return SPREAD[event, ast.unparse(keyword.value)]


def texts(node: ast.expr) -> tuple[str, ...]:
    """The texts that an expression may be; one that is no text, nor a choice between two, fails the test."""
    match node:
        case ast.Constant(str(text)):
            return (text,)
        case ast.IfExp(body=one, orelse=other):
            return texts(one) + texts(other)
        case _:
            raise AssertionError(f"the page cannot say what this is: {ast.unparse(node)}")


def page() -> str:
    """Return the whole page: its first half as it stands, and its second half as the code says."""
    rows: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for each in calls():
        where = rows.setdefault((each.event, each.levels, each.fields), [])
        where += [] if each.where in where else [each.where]
    lines = ["| event | level | fields | logged by |", "|---|---|---|---|"]
    for (event, levels, fields), where in sorted(rows.items()):
        named = ", ".join(f"`{field}`" for field in fields)
        modules = ", ".join(f"`{module}`" for module in where)
        lines.append(f"| `{event}` | {' or '.join(levels)} | {named} | {modules} |")
    return by_hand() + HEAD + "\n".join(lines) + "\n"


def by_hand() -> str:
    """Return the first half of the page."""
    return PAGE.read_text().partition(HEAD)[0] if PAGE.exists() else ""


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "run `just logs`"


def test_the_fields_that_are_spread_are_still_spread() -> None:
    used = {
        (event, ast.unparse(each.value))
        for folder in FOLDERS
        for file in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and list(logged(node, ""))
        for event in texts(node.args[0])
        for each in node.keywords
        if each.arg is None
    }
    assert used == set(SPREAD)


def test_no_line_has_a_field_for_what_a_client_has_written() -> None:
    written = {"prompt", "negative_prompt", "image_url", "query", "body", "headers", "key", "metadata"}
    assert [each for each in calls() if written & set(each.fields)] == []


def test_the_page_names_the_event_of_wrapped_lines() -> None:
    line = wrapping.as_json("[1] 2026 [WRN] slow", "broker", "stderr", "info")
    assert line is not None
    assert '"event": "text_printed"' in line
    assert "`text_printed`" in by_hand()


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{Path(PAGE).relative_to(REPOSITORY)}\n")
