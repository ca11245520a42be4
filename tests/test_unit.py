"""What `just unit` runs: enough tests to be worth it, and none that is slow by what it needs."""

from pathlib import Path

import pytest

from tests.kit import unit
from tests.kit.process import completed

COLLECT_AND_NAME_SLOW_PACKAGES = f"""
import sys, pytest
code = pytest.main(["-m", "{unit.MARK}", "--collect-only", "-q", "-p", "no:cacheprovider"])
print("loaded:", sorted({set(unit.SLOW_PACKAGES)!r} & set(sys.modules)))
sys.exit(code)
"""


def test_collecting_the_unit_tests_imports_no_torch_and_no_browser() -> None:
    done = completed("-c", COLLECT_AND_NAME_SLOW_PACKAGES, within_s=100)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "loaded: []" in done.stdout
    chosen = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(chosen) > 1700
    assert not any(line.startswith(("tests/flow/", "tests/inference/wan/", "tests/browser/")) for line in chosen)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from contracts.job import Job", True),
        ("from contracts.broker import Bus\nfrom tests.kit.broker import Broker\ndef test(b: Broker): ...", True),
        ("import torch", False),
        ("if 1:\n    from inference.wan.load import load", False),
        ("from inference.wan.load import load", False),
        ("import subprocess", False),
        ("from tests.kit.process import completed\ncompleted()", False),
        ("from tests.kit.edge import Edge\nclass Impatient(Edge): ...", False),
    ],
)
def test_a_file_is_judged_by_what_it_imports_and_calls(tmp_path: Path, source: str, expected: bool) -> None:
    file = tmp_path / "test_of_something.py"
    file.write_text(source)
    assert unit.is_light(file) is expected


@pytest.mark.parametrize("fixture", ["broker", "edge", "road", "wan"])
def test_a_test_is_judged_by_its_fixtures(fixture: str) -> None:
    assert unit.is_unit_test(["tmp_path"])
    assert not unit.is_unit_test(["tmp_path", fixture])
