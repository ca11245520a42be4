"""The pocket model: written once, whole, and the same every time."""

import os
from pathlib import Path

import pytest
import torch

from inference.pocket import POCKET_FOLDER
from inference.pocket.build import build
from inference.pocket.data.tokenizer import VOCABULARY, tokenizer
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from tests.kit.tiny import TINY, go_on, image, job


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_shape_gives_the_same_bytes(checkpoint: Path, tmp_path: Path):
    build(tmp_path / "again", TINY)
    assert contents(tmp_path / "again") == contents(checkpoint)


def test_what_is_there_is_left_alone(checkpoint: Path):
    before = {file: file.stat().st_mtime_ns for file in checkpoint.rglob("*")}
    assert build(checkpoint, TINY) is False
    assert {file: file.stat().st_mtime_ns for file in checkpoint.rglob("*")} == before


def test_a_folder_with_something_else_in_it_is_not_overwritten(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine is there already"):
        build(tmp_path / "mine", TINY)


def test_nothing_is_left_behind_by_a_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inference.wan.new_components.vae", lambda _shape: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "model", TINY)
    assert list(tmp_path.iterdir()) == []


def test_building_does_not_disturb_the_callers_random_numbers(tmp_path: Path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build(tmp_path / "model", TINY)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("text", ["a cat, walking", "一只猫在雨中行走", "¿qué? 🐈", ""])
def test_the_tokenizer_can_say_everything(wan: Wan, text: str):
    assert wan.tokenizer.decode(wan.tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_what_is_shipped_is_the_pocket_and_makes_a_video():
    wan = load(POCKET_FOLDER, torch.device("cpu"), large_sizes=True)
    assert (wan.card.name, wan.card.default_size, wan.heads) == ("pocket", "256*144", 6)
    assert wan.card.sizes == ["256*144", "144*256", "1280*720", "720*1280", "832*480", "480*832"]
    video = generate(wan, job(num_frames=5, infer_steps=2), image(), go_on)
    assert video.isfinite().all()
    assert video.std() > 0.05


def test_the_pockets_own_folder_can_be_written(tmp_path: Path):
    build(tmp_path / "model", TINY)
    assert os.access(tmp_path / "model", os.R_OK | os.X_OK)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_the_text_encoder_has_a_row_for_every_token() -> None:
    assert len(tokenizer()) == VOCABULARY
