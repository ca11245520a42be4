"""Keep the limits that a reader feels: lengths of files and functions, docstrings, and a layer for every module."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.machine import REPOSITORY

FOLDERS = ("contracts", "services", "inference", "ops")
FILE_LINES_MAX = 200
FUNCTION_LINES_MAX = 40
LONGER_FILES = {
    "services/edge/http/limited_protocol.py": "one state machine of a connection, whose flags every part of it reads",
}
"""Files that may be longer, each with its reason."""
LONGER_FUNCTIONS: dict[str, str] = {}
"""Functions that may be longer, as `file:name`, each with its reason."""
HEADLESS = re.compile(
    r"(of|what|by|it|its|they|that|those|this|these|where|who|whose|which|as|from|for|with|without|in|on|at|so|there"
    r"|one|all|every|whether|how|because|since|after|before|but|and|or|until|only|other|others|than|then|here|now)\b",
    re.IGNORECASE,
)
"""How a docstring may not open: its first word is a verb in the imperative, or the noun that is returned."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def modules() -> list[Path]:
    return [file for folder in FOLDERS for file in sorted((REPOSITORY / folder).rglob("*.py"))]


def named(file: Path) -> str:
    return str(file.relative_to(REPOSITORY))


def definitions(file: Path) -> Iterator[Definition]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, Definition):
            yield node


def too_long_files() -> dict[str, int]:
    lengths = {named(file): len(file.read_text(encoding="utf-8").splitlines()) for file in modules()}
    return {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX}


def too_long_functions() -> dict[str, int]:
    found: dict[str, int] = {}
    for file in modules():
        for each in definitions(file):
            lines = (each.end_lineno or each.lineno) - each.lineno + 1
            if not isinstance(each, ast.ClassDef) and lines > FUNCTION_LINES_MAX:
                found[f"{named(file)}:{each.name}"] = lines
    return found


def test_files_are_short_but_for_those_that_say_why() -> None:
    assert {name: lines for name, lines in too_long_files().items() if name not in LONGER_FILES} == {}
    assert set(LONGER_FILES) <= set(too_long_files()), "an exemption that is no longer needed goes"


def test_functions_are_short_but_for_those_that_say_why() -> None:
    assert {name: lines for name, lines in too_long_functions().items() if name not in LONGER_FUNCTIONS} == {}
    assert set(LONGER_FUNCTIONS) <= set(too_long_functions()), "an exemption that is no longer needed goes"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_and_every_class_says_what_it_is(folder: str) -> None:
    silent: list[str] = []
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if text.strip() and ast.get_docstring(ast.parse(text)) is None:
            silent.append(named(file))
        silent += [
            f"{named(file)}:{each.lineno} {each.name}"
            for each in definitions(file)
            if isinstance(each, ast.ClassDef) and ast.get_docstring(each) is None
        ]
    assert silent == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_open_with_a_verb_or_a_noun(folder: str) -> None:
    headless = [
        f"{named(file)}:{each.lineno} {each.name}: {docstring.splitlines()[0]}"
        for file in sorted((REPOSITORY / folder).rglob("*.py"))
        for each in definitions(file)
        if (docstring := ast.get_docstring(each)) is not None and HEADLESS.match(docstring)
    ]
    assert headless == []


def test_every_folder_of_modules_has_layers_in_which_every_module_stands() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layered = {
        container: {module for layer in contract["layers"] for module in re.split(r"[|:]", layer.replace(" ", ""))}
        for contract in contracts
        if contract["type"] == "layers"
        for container in contract["containers"]
    }
    assert all(contract["exhaustive"] for contract in contracts if contract["type"] == "layers")
    for container in ("contracts", "services.edge", "inference", "inference.wan", "inference.pocket", "ops"):
        folder = REPOSITORY / container.replace(".", "/")
        inside = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        assert inside - {"__init__"} == layered[container], container
