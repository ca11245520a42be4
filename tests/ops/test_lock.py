"""What is shipped is locked: every requirement has its version and its hashes, and no lock says where it was made."""

import re
import socket
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.lock import INDEX, LOCKS, SHIPPED, compile_lock, lock_of
from tests.kit.machine import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)( ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def wanted(name: str) -> list[Requirement]:
    """Return what the package itself and the shipped extras of a kind of machine require."""
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for extra in SHIPPED[name] for text in extras[extra])]
    return [Requirement(text) for text in texts]


def pins(name: str) -> dict[str, list[str]]:
    """Return the versions of each package in a lock; several where Python or the platform decide."""
    found: dict[str, list[str]] = {}
    for package, version, _, _ in PIN.findall(lock_of(name).read_text()):
        found.setdefault(package, []).append(version)
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_a_lock_satisfies_what_the_project_requires(name: str) -> None:
    locked = pins(name)
    for requirement in wanted(name):
        versions = locked[canonicalize_name(requirement.name)]
        assert versions and all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.mark.parametrize("name", SHIPPED)
def test_a_lock_keeps_to_the_constraints(name: str) -> None:
    locked = pins(name)
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    constraints = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert constraints
    for constraint in constraints:
        for version in locked.get(canonicalize_name(constraint.name), []):
            assert constraint.specifier.contains(version), constraint


@pytest.mark.parametrize("name", SHIPPED)
def test_a_lock_has_hashed_pins_alone_and_no_address_or_path(name: str) -> None:
    text = lock_of(name).read_text()
    assert "".join(match[0] for match in PIN.finditer(text)) == text


def test_torch_npu_is_of_the_version_of_torch_that_it_was_built_for() -> None:
    """Its wheels say so by their version alone, and require nothing."""
    locked = pins("npu")
    assert [each.rsplit(".", 1)[0] for each in locked["torch-npu"]] == [
        each.rsplit(".", 1)[0] for each in locked["torch"]
    ]


def test_every_lock_is_of_something_shipped() -> None:
    assert {file.name for file in LOCKS.glob("*.txt")} == {lock_of(name).name for name in SHIPPED}


def test_every_extra_is_shipped_or_for_our_own_use() -> None:
    shipped = {extra for extras in SHIPPED.values() for extra in extras}
    own_use = {"bench", "browser", "dev", "fuzz", "supply", "train"}
    assert set(PROJECT["optional-dependencies"]) == shipped | own_use


def can_be_made() -> bool:
    """Return whether uv is installed, as by `just lock`, and its index can be reached."""
    try:
        with socket.create_connection((urlsplit(INDEX).hostname or "", 443), timeout=5):
            return (Path(sys.executable).parent / "uv").exists()
    except OSError:
        return False


@pytest.mark.parametrize("name", SHIPPED)
def test_a_lock_is_made_again_as_it_is(name: str, tmp_path: Path) -> None:
    if not can_be_made():
        pytest.skip(
            "THE LOCKS WERE NOT MADE AGAIN: uv is not installed (`just lock` does so), or PyPI cannot be reached"
        )
    made = tmp_path / f"{name}.txt"
    made.write_bytes(lock_of(name).read_bytes())
    compile_lock(name, made)
    assert made.read_bytes() == lock_of(name).read_bytes()
