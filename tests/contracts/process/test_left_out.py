import sys
from importlib import import_module
from pathlib import Path

import pytest

from contracts.process.left_out import left_out

NAME = "a_package_of_nobody"


def test_a_package_that_is_left_out_cannot_be_imported_meanwhile_and_can_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{NAME}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with left_out(NAME), pytest.raises(ImportError):
        import_module(NAME)
    there = import_module(NAME)
    assert sys.modules.pop(NAME) is there


def test_a_package_that_is_imported_already_stays() -> None:
    with left_out("sys"):
        assert import_module("sys") is sys
    assert sys.modules["sys"] is sys
