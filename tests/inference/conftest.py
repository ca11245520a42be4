"""Fixtures for tests of inference: the tiny model, and one thread. Torch is imported by the tests that need it."""

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from inference.wan.load import Wan


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of the tiny model."""
    from inference.pocket.build import build  # noqa: PLC0415  # imports torch
    from tests.kit.tiny import TINY  # noqa: PLC0415  # imports torch

    folder = tmp_path_factory.mktemp("models") / "tiny"
    build(folder, TINY)
    return folder


@pytest.fixture(scope="session")
def wan(checkpoint: Path) -> "Wan":
    """The tiny model, loaded on the CPU."""
    import torch  # noqa: PLC0415

    from inference.wan.load import load  # noqa: PLC0415  # imports torch

    return load(checkpoint, torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None, None, None]:
    """Pin torch to one thread: sums are split over threads, so results are equal bit for bit only for equal counts."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
