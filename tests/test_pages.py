"""Every page: its paths, links, modules and recipes exist, its examples are run somewhere, and its map is complete."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.kit.machine import REPOSITORY
from tests.kit.pages import blocks, pages, tracked

README_LINES_MAX = 150
README_WORDS_MAX = 1300
FOLDERS = "contracts|services|inference|ops|tests"
PAGES = pages()
MAPS = [page for page in PAGES if page.name == "README.md" and not page.is_relative_to(REPOSITORY / "tests")]

FILE = re.compile(rf"(?<![\w./~-])(?:(?:{FOLDERS})/[\w./-]*\w|[\w./-]+\.(?:py|md|conf|json|toml|sh|yml)\b)")
"""A path below one of our folders, or the name of a file."""

NOT_OURS = ("venv", "pip", "pytest", "torch.distributed.run", "supervisor.supervisord")
"""Modules of other packages that a page may start with `python -m`."""

OF_USERS = (
    "users.conf",
    "/srv/wanjet/keys/broker/nats-server.conf",
    "broker/users.conf",
    "broker/nats-server.conf",
    "wanjet.json",
    "model_index.json",
    "config.json",
    "job.json",
    "status.json",
    "ID.json",
    "jobs/ID.json",
    "/docs/events.json",
    "/docs/openapi.json",
    "/openapi.json",
    "nsswitch.conf",
)
"""Files that a page names and that are no files of this repository."""

OF_VENDORS = ("PYTORCH_NPU_ALLOC_CONF", "TASK_QUEUE_ENABLE", "CPU_AFFINITY_CONF", "TOKENIZERS_PARALLELISM")
"""Variables that pass through to other libraries."""

RUN_BY = {
    "README.md": [
        ".ci/run, tests/ops/local/test_demo.py",
        ".ci/run",
        "tests/flow/test_readme.py",
        "tests/flow/test_commands.py",
    ],
    "services/edge/README.md": [*["tests/flow/test_readme.py"] * 8, *["tests/flow/test_encrypted.py"] * 3],
    "contracts/events.md": ["tests/flow/test_readme.py", *["tests/flow/test_event_examples.py"] * 2],
    "ops/logs.md": ["tests/flow/test_logs.py"],
    "ops/runbook.md": ["tests/flow/test_runbook.py"] * 15,
    "ops/bench/README.md": ["tests/ops/bench/test_page.py"],
    ".github/CONTRIBUTING.md": [".ci/run"],
}
"""What runs the example blocks of a page, in their order. A drawing has no language and is no example."""


def ids(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


every_page = pytest.mark.parametrize("page", PAGES, ids=ids)


def code(page: Path) -> list[str]:
    """Return what a page shows as code: words between backticks, and its blocks."""
    text = page.read_text()
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    return spans + [block.text for block in blocks(page)]


@cache
def source() -> set[str]:
    """Return every word of every file that is no page."""
    files = tracked(
        "*.py", "*.conf", "*.toml", "*.js", "*.yml", "*.txt", "justfile", "ops/bench/results/*.json", ".ci/run"
    )
    return {word for file in files for word in re.findall(r"\w+", file.read_text())}


def test_the_readme_is_short() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= README_LINES_MAX
    assert len(text.split()) <= README_WORDS_MAX


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for shown in code(page):
        for name in re.findall(
            rf"(?<![\w./~-])(?:{FOLDERS})/[\w./-]*\w|[\w./-]+\.(?:py|md|conf|json|toml|sh|yml)\b", shown
        ):
            if name not in OF_USERS and not any(character in name for character in "<>*"):
                assert exists(page, name), name


def exists(page: Path, name: str) -> bool:
    """Return whether a name is that of a file beside the page, below its folder, or in the repository."""
    return (page.parent / name).exists() or (REPOSITORY / name).exists() or any(page.parent.glob(f"*/{name}"))


@every_page
def test_modules_that_are_named_exist(page: Path) -> None:
    for shown in code(page):
        started = re.findall(r"(?:python3?|torchrun\b.*?) -m ([\w.]+)", shown)
        dotted = re.findall(rf"^((?:{FOLDERS})(?:\.\w+)+)$", shown)
        for module in started + dotted:
            path = REPOSITORY / module.replace(".", "/")
            known = module in NOT_OURS or path.with_suffix(".py").exists() or (path / "__init__.py").exists()
            assert known, module
            assert module in dotted or module in NOT_OURS or runs(path), f"{module} is nothing to run"


def runs(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@every_page
def test_recipes_that_are_named_exist(page: Path) -> None:
    recipes = set(re.findall(r"^([a-z][a-z-]*)(?: [^:\n]*)?:", (REPOSITORY / "justfile").read_text(), re.MULTILINE))
    for shown in code(page):
        for recipe in re.findall(r"(?:^|/|\s)just ([a-z][a-z-]*)", shown):
            assert recipe in recipes, recipe


@every_page
def test_variables_and_log_events_that_are_named_exist(page: Path) -> None:
    for shown in code(page):
        if re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+|[a-z]+(?:_[a-z]+)+", shown):
            assert shown in source() or shown in OF_VENDORS, shown


@every_page
def test_examples_are_run_somewhere(page: Path) -> None:
    """A new block needs a test that runs it; `RUN_BY` says which does."""
    shown = [block for block in blocks(page) if block.language]
    run_by = RUN_BY.get(ids(page), [])
    assert len(shown) == len(run_by), "add what runs the block to RUN_BY"
    for name in {name for names in run_by for name in names.split(", ")}:
        assert (REPOSITORY / name).exists(), name


@pytest.mark.parametrize("page", MAPS, ids=ids)
def test_a_map_names_every_module_of_its_folder(page: Path) -> None:
    """A folder without a page of its own belongs to the page above."""
    text = page.read_text()
    for file in tracked(f"{page.parent.relative_to(REPOSITORY)}/*.py"):
        if file.is_relative_to(REPOSITORY / "tests"):
            continue
        nearest = next(folder for folder in file.parents if (folder / "README.md").exists())
        named = file.name in text or (f"{file.parent.name}/" in text and file.parent != page.parent)
        if nearest == page.parent and file.name != "__init__.py":
            assert named, f"add {file.name} to {ids(page)}"


def test_every_defence_names_its_code_and_the_tests_that_show_it() -> None:
    """Whether the files exist, `test_files_that_are_named_exist` looks."""
    section = (
        (REPOSITORY / ".github" / "SECURITY.md").read_text().partition("## What is defended")[2].partition("\n## ")[0]
    )
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for threat, _, where, shown_by in rows:
        assert re.fullmatch(r" `(?!tests/)[\w./]+`(, `(?!tests/)[\w./]+`)* ", where), threat
        assert re.fullmatch(r" `tests/[\w/]+/test_\w+\.py`(, `tests/[\w/]+/test_\w+\.py`)* ", shown_by), threat


def test_the_two_commands_are_those_of_ci() -> None:
    """CI runs the commands that the README gives to a newcomer, but for the demo, which has a test of its own."""
    first, second = (block.text for block in blocks(REPOSITORY / "README.md")[1:3])
    ci = (REPOSITORY / ".ci" / "run").read_text()
    for command in first.splitlines()[0].split(" && ")[:2]:
        assert command in ci
    assert second.strip() in ci
