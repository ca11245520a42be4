"""The fingerprint of a checkpoint: other weights, other fingerprint; the same files, the same one, anywhere."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.wan import load as loading
from inference.wan.checkpoint.components import Checkpoint
from inference.wan.checkpoint.fingerprint import SAMPLE_BYTES, SAMPLES, WHOLE_BYTES_MAX, fingerprint, samples
from inference.wan.checkpoint.model_card import read_card
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError, Stored
from inference.wan.load import Wan, load
from tests.inference.wan.original import write_original, write_shards

WEIGHTS = "diffusion_pytorch_model.safetensors"
CPU = torch.device("cpu")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "of another name")


def of(folder: Path) -> str:
    return fingerprint(open_checkpoint(folder), read_card(folder))


def with_tensor(checkpoint: Checkpoint, part_name: str, name: str, change: Callable[[Stored], Stored]) -> Checkpoint:
    """The checkpoint with one tensor changed."""
    part = checkpoint.components[part_name]
    return replace(checkpoint, **{part_name: replace(part, stored={**part.stored, name: change(part.stored[name])})})


def of_values(values: torch.Tensor) -> Stored:
    return Stored(Path("drawn"), tuple(values.shape), values.dtype, lambda first, last: values.flatten()[first:last])


def test_the_same_files_have_the_same_fingerprint_wherever_they_lie(checkpoint: Path, copy: Path, wan: Wan) -> None:
    assert of(copy) == of(checkpoint) == wan.weights
    assert len(wan.weights) == 64


def test_how_weights_are_split_into_files_does_not_count(checkpoint: Path, copy: Path) -> None:
    whole = copy / "transformer" / WEIGHTS
    write_shards(load_file(whole), copy / "transformer")
    whole.unlink()
    assert of(copy) == of(checkpoint)


def test_any_single_tensor_that_differs_gives_another_one(checkpoint: Path) -> None:
    opened, card = open_checkpoint(checkpoint), read_card(checkpoint)
    seen = {fingerprint(opened, card)}
    tensors = [(part_name, name) for part_name, part in opened.components.items() for name in part.used]
    for part_name, name in tensors:
        changed = with_tensor(
            opened,
            part_name,
            name,
            lambda old: replace(old, items=lambda first, last: old.items(first, last) * 1.01 + 1),
        )
        seen.add(fingerprint(changed, card))
    assert len(seen) == len(tensors) + 1


def test_a_type_a_shape_and_a_name_count(checkpoint: Path) -> None:
    opened, card = open_checkpoint(checkpoint), read_card(checkpoint)
    name = next(name for name, tensor in opened.transformer.stored.items() if len(set(tensor.shape)) == 2)
    for change in (
        lambda old: replace(old, dtype=torch.float64),
        lambda old: replace(old, shape=(old.shape[1], old.shape[0])),
    ):
        assert fingerprint(with_tensor(opened, "transformer", name, change), card) != fingerprint(opened, card)
    stored = {f"{each}_2" if each == name else each: tensor for each, tensor in opened.transformer.stored.items()}
    renamed = replace(opened, transformer=replace(opened.transformer, stored=stored))
    assert fingerprint(renamed, card) != fingerprint(opened, card)


@pytest.mark.parametrize("changed_share", [1.0, 0.01])
def test_a_merged_lora_is_seen_in_a_large_tensor_even_where_rounding_leaves_most_values(
    checkpoint: Path, changed_share: float
) -> None:
    opened, card = open_checkpoint(checkpoint), read_card(checkpoint)
    rng = torch.Generator().manual_seed(1)
    values = torch.randn(2000, 1500, generator=rng).bfloat16()
    merged = torch.where(torch.rand(values.shape, generator=rng) < changed_share, values * 1.01, values)
    prints = [
        fingerprint(
            with_tensor(opened, "transformer", "proj_out.weight", lambda _old, each=each: of_values(each)), card
        )
        for each in (values, merged)
    ]
    assert len(set(prints)) == 2


def test_samples_are_few_and_lie_from_the_first_number_to_the_last() -> None:
    """A tensor of 2.8 GB, as UMT5's embedding in fp16 nearly is."""
    items = 1_400_000_000
    parts = samples(items, 2)
    assert (parts[0].start, parts[-1].stop, len(parts)) == (0, items, SAMPLES)
    assert {2 * len(part) for part in parts} == {SAMPLE_BYTES}
    gaps = {after.start - before.start for before, after in pairwise(parts)}
    assert max(gaps) - min(gaps) <= 1
    assert samples(WHOLE_BYTES_MAX // 4, 4) == [range(WHOLE_BYTES_MAX // 4)]
    assert samples(0, 4) == [range(0)]


@pytest.mark.parametrize(
    "file",
    [
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "image_encoder/config.json",
        "image_processor/preprocessor_config.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_what_says_how_the_parts_compute_counts(checkpoint: Path, copy: Path, file: str) -> None:
    content = json.loads((copy / file).read_bytes())
    # The tokenizer's file takes no fields but its own.
    change = {"padding": None} if file == "tokenizer/tokenizer.json" else {"eps": 1e-3}
    (copy / file).write_text(json.dumps({**content, **change}))
    assert of(copy) != of(checkpoint)


def test_of_the_card_only_what_changes_pixels_counts(checkpoint: Path, copy: Path) -> None:
    card = msgspec.json.decode((copy / "wanjet.json").read_bytes())
    for changes, other in (({"name": "another"}, False), ({"default_size": "48*48"}, True)):
        (copy / "wanjet.json").write_bytes(msgspec.json.encode({**card, **changes}))
        assert (of(copy) != of(checkpoint)) is other


def test_what_is_for_people_does_not_count(checkpoint: Path, copy: Path) -> None:
    for file in ("README.md", "tokenizer/README.md", "tokenizer/.gitattributes", "scheduler/more.json"):
        (copy / file).write_text("anything")
    assert of(copy) == of(checkpoint)


def test_the_original_layout_has_a_fingerprint_of_its_own_weights(wan: Wan, checkpoint: Path, tmp_path: Path) -> None:
    original = write_original(wan, checkpoint, tmp_path / "original")
    before = of(original)
    moved = original.rename(tmp_path / "moved")
    assert of(moved) == before
    vae = torch.load(moved / "Wan2.1_VAE.pth", weights_only=True)
    vae["conv2.weight"] += 1
    torch.save(vae, moved / "Wan2.1_VAE.pth")
    assert of(moved) != before


def test_weights_that_are_replaced_while_they_are_read_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any, **more: Any) -> Wan:
        wan = reads(*arguments, **more)
        tensors = load_file(copy / "transformer" / WEIGHTS)
        others = {name: tensor + 1 for name, tensor in tensors.items()}
        save_file(others, copy / "transformer" / WEIGHTS, {"format": "pt"})
        return wan

    reads = loading.read
    monkeypatch.setattr(loading, "read", read)
    with pytest.raises(CheckpointError, match="expected files that stay as they are, found others after reading them"):
        load(copy, CPU)
