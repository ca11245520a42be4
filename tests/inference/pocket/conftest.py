"""Fixtures for tests of the pocket model: one short training in full precision and one in half."""

from collections.abc import Generator
from pathlib import Path

import pytest

from inference.pocket.training import precision
from tests.kit.short_training import learn


@pytest.fixture(scope="session", params=[False, True], ids=["fp32", "bf16"])
def half(request: pytest.FixtureRequest) -> Generator[bool]:
    """Whether training runs in bf16, whatever this CPU has instructions for. Tests that ask for it run both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_bf16", lambda: request.param)
        yield request.param


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory, half: bool) -> Path:
    """The folder of a training that has ended."""
    folder = tmp_path_factory.mktemp("training")
    learn(folder)
    return folder
