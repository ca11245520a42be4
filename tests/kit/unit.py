"""Which tests are unit tests: `pytest -m unit` runs those that need no broker, process, torch or browser.

tests/conftest.py asks here. A test is judged by what its file imports and calls, read from its source before
anything is imported, and by the names of its fixtures. So a new pure test is a unit test without a word about it.
"""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.kit.machine import REPOSITORY

TESTS = REPOSITORY / "tests"
MARK = "unit"
SLOW_PACKAGES = frozenset({"torch", "diffusers", "transformers", "playwright", "moto"})
"""Packages that take seconds to import, in whatever module of ours the import stands."""

STARTERS = frozenset(
    {
        "subprocess",
        "multiprocessing",
        "tests.kit.forked",
        "tests.kit.machine.NATS_SERVER",
        "tests.kit.machine.UNKNOWN_HOST",
        "tests.kit.no_links",
        "tests.kit.object_store",
        "tests.kit.torchrun",
    }
)
"""What starts processes, if a test or a helper of tests outside the kit imports it."""

CALLED = frozenset(
    {"Broker", "Edge", "Forked", "Normaliser", "Process", "Sandbox", "normaliser", "completed", "output_of"}
)
"""What starts processes, if a test file calls it or derives a class from it; a name in an annotation starts none."""

_MAY_CALL = re.compile(rf"\b({'|'.join(CALLED)})\(|^\s*class \w+\(.*\b({'|'.join(CALLED)})\b", re.MULTILINE)

FIXTURES = frozenset({"broker", "browser", "edge", "edges", "link", "road", "wan"})
"""Fixtures that start a process or import torch."""

LONG_FOLDERS = ("chaos", "simulation", "starts")
"""Folders of tests/ that take seconds by what they are for."""


@functools.cache
def is_unit_file(path: Path) -> bool:
    """Return whether a test file, with each conftest above it, imports nothing that a unit test may not need."""
    inside = path.relative_to(TESTS)
    if inside.parts[0] in LONG_FOLDERS:
        return False
    conftests = [file for folder in inside.parents if (file := TESTS / folder / "conftest.py").is_file()]
    return is_light(path, *conftests)


def is_light(path: Path, *conftests: Path) -> bool:
    """Return whether a test file and its conftests import no slow package and start no process by themselves."""
    return CALLED.isdisjoint(_called(path)) and not any(map(_imports_slow, _reachable([path, *conftests])))


def holds_unit_files(folder: Path) -> bool:
    """Return whether a unit file is in the folder or below it."""
    return any(is_unit_file(file) for file in folder.rglob("test_*.py"))


def is_unit_test(fixtures: Iterable[str]) -> bool:
    """Return whether a test of a unit file is a unit test, by the names of its fixtures."""
    return FIXTURES.isdisjoint(fixtures)


@functools.cache
def _imports_slow(file: Path) -> bool:
    """Return whether the file itself imports a slow package, or starts processes."""
    names = _imports(file)
    starts = _is_test_code(file) and not STARTERS.isdisjoint(names)
    return starts or not SLOW_PACKAGES.isdisjoint(name.partition(".")[0] for name in names)


def _is_test_code(file: Path) -> bool:
    """Return whether a file is a test or a helper of tests: neither ours in production nor in the kit."""
    if not file.is_relative_to(REPOSITORY):
        return True
    inside = file.relative_to(REPOSITORY).parts
    return inside[0] == "tests" and inside[1] not in ("kit", "conftest.py")


def _reachable(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files, and every file of the repository that importing them runs."""
    waiting = list(paths)
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        yield file
        found = _modules(file) - seen
        waiting += found
        seen |= found


@functools.cache
def _modules(file: Path) -> frozenset[Path]:
    """Return the files of ours that the file itself imports."""
    return frozenset(module for name in _imports(file) if (module := _file_of(name)) is not None)


@functools.cache
def _file_of(name: str) -> Path | None:
    """Return the file of a module of ours, or None for a package of others and for a name inside a module."""
    stem = REPOSITORY.joinpath(*name.split("."))
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


@functools.cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules, and names in modules, that importing the file imports: not those inside functions."""
    names: set[str] = set()
    waiting: list[ast.AST] = [_parsed(file)]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.If | ast.Try | ast.With):
                waiting.append(node)
    return frozenset(names)


def _called(file: Path) -> Iterator[str]:
    """Yield the bare names that the file calls, and those that its classes derive from."""
    if _MAY_CALL.search(file.read_text()) is None:  # a walk through the whole file takes longer than its parsing
        return
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.ClassDef):
            yield from (base.id for base in node.bases if isinstance(base, ast.Name))


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())
