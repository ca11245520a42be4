"""What counts as a Wan2.1 image-to-video checkpoint, and what is said of everything else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

from inference.wan.card import read_card
from inference.wan.load import Wan, load
from inference.wan.residual import IN_FP32
from inference.wan.weights import CheckpointError

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "model")


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = msgspec.json.decode(file.read_bytes())
    change(content)
    file.write_bytes(msgspec.json.encode(content))


def test_everything_is_loaded_in_fp32_and_for_use_only(wan: Wan):
    for model in (wan.transformer, wan.vae, wan.text_encoder, wan.image_encoder):
        assert not model.training
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert wan.heads == 4
    assert wan.device == CPU


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"nowhere: expected a folder .* found none"):
        load(tmp_path / "nowhere", CPU)


def test_a_folder_of_neither_layout_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"expected model_index\.json .* or config\.json .*, found neither$"):
        load(tmp_path, CPU)


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        (
            "transformer/config.json",
            {"in_channels": 16},
            r"expected in_channels 36 \(16 is text-to-video\), found 16$",
        ),
        ("transformer/config.json", {"image_dim": None}, r"expected image_dim to be set .* found none$"),
        ("transformer/config.json", {"added_kv_proj_dim": None}, r"expected added_kv_proj_dim to be set .* found none"),
        ("transformer/config.json", {"patch_size": [1, 1, 1]}, r"expected patch_size 1, 2, 2, found \[1, 1, 1\]$"),
        ("transformer/config.json", {"in_channels": "many"}, r"transformer/config\.json: expected .* found that"),
        ("vae/config.json", {"z_dim": 48}, r"expected z_dim 16, found 48$"),
        ("vae/config.json", {"scale_factor_spatial": 16}, r"expected scale_factor_spatial 8, found 16$"),
        ("text_encoder/config.json", {"d_model": 64}, r"text_encoder: expected d_model 32, found 64$"),
        ("image_encoder/config.json", {"hidden_size": 8}, r"image_encoder: expected hidden_size 16, found 8$"),
        (
            "model_index.json",
            {"image_encoder": [None, None]},
            r"model_index\.json: expected image_encoder of class CLIPVisionModel, found none$",
        ),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderKL"]}, r"AutoencoderKLWan, found AutoencoderKL$"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(copy: Path, file: str, changes: dict[str, Any], sentence: str):
    edit(copy / file, lambda content: content.update(changes))
    with pytest.raises(CheckpointError, match=sentence):
        load(copy, CPU)


def test_a_clip_saved_with_its_projection_will_do(copy: Path):
    named = {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}
    edit(copy / "model_index.json", lambda content: content.update(named))
    load(copy, CPU)


def test_weights_that_are_missing_or_pickled_are_refused(copy: Path):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").rename(copy / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"vae: expected weights as \.safetensors, .* found none$"):
        load(copy, CPU)


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda tensors: tensors.pop("proj_out.bias"),
            r"transformer: expected a tensor proj_out\.bias, found none$",
        ),
        (
            lambda tensors: tensors.update(patch_embedding_2=torch.zeros(1)),
            r"transformer: expected no other tensors than Wan2\.1's, found patch_embedding_2$",
        ),
        (
            lambda tensors: tensors.update({"patch_embedding.weight": torch.zeros(48, 16, 1, 2, 2)}),
            r"patch_embedding\.weight of shape \[48, 36, 1, 2, 2\], found \[48, 16, 1, 2, 2\]$",
        ),
        (
            lambda tensors: tensors.update({"proj_out.bias": torch.zeros(64, dtype=torch.int8)}),
            r"expected proj_out\.bias in floats of 16 bits or more, found torch\.int8$",
        ),
    ],
    ids=["missing", "unknown", "shape", "type"],
)
def test_weights_that_are_not_the_configurations_are_refused(
    copy: Path, change: Callable[[dict[str, torch.Tensor]], object], sentence: str
):
    rewrite(copy / "transformer" / WEIGHTS, change)
    with pytest.raises(CheckpointError, match=sentence):
        load(copy, CPU)


def test_a_file_that_was_cut_off_is_told_by_its_size(copy: Path):
    file = copy / "transformer" / WEIGHTS
    size = file.stat().st_size
    os.truncate(file, size - 1000)
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: expected {size} bytes, found {size - 1000}$"):
        load(copy, CPU)
    os.truncate(file, 100)
    with pytest.raises(CheckpointError, match=r"expected a safetensors file, found something else or its beginning$"):
        load(copy, CPU)


def test_types_are_those_of_diffusers_and_transformers_in_bf16_but_for_two_in_fp32(checkpoint: Path):
    ours = load(checkpoint, CPU, dtype=torch.bfloat16)
    theirs = {
        "transformer": (ours.transformer, WanTransformer3DModel),
        "text_encoder": (ours.text_encoder, UMT5EncoderModel),
    }
    for name, (model, kind) in theirs.items():
        stock = kind.from_pretrained(checkpoint / name, dtype=torch.bfloat16, local_files_only=True)
        state, stock_state = model.state_dict(), stock.state_dict()
        assert state.keys() == stock_state.keys()
        for key, tensor in stock_state.items():
            ours_alone = name == "transformer" and set(IN_FP32) & set(key.split("."))
            assert state[key].dtype == (torch.float32 if ours_alone else tensor.dtype), key
            assert torch.equal(state[key].to(tensor.dtype), tensor), key
        for (_, buffer), (_, stock_buffer) in zip(model.named_buffers(), stock.named_buffers(), strict=True):
            assert torch.equal(buffer, stock_buffer)


def test_a_folder_without_a_card_is_taken_for_wan_14b(copy: Path):
    (copy / "wanjet.json").unlink()
    card = read_card(copy)
    assert card.name == "model"
    assert card.sizes == ["1280*720", "720*1280", "832*480", "480*832"]
    assert card.default_size == "1280*720"


def test_large_sizes_are_advertised_only_on_request(checkpoint: Path):
    assert load(checkpoint, CPU).card.sizes == ["64*48", "48*48"]
    assert load(checkpoint, CPU, large_sizes=True).card.sizes == ["64*48", "48*48", "128*96"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sizes": ["64*50"], "default_size": "64*50"}, r"expected sides that are multiples of 16, found 64\*50$"),
        ({"default_size": "16*16"}, r"expected default_size among 64\*48, 48\*48, found 16\*16$"),
        ({"sizes": []}, r"wanjet\.json: expected .* found that"),
        ({"colour": "red"}, r"wanjet\.json: expected .* found that .*colour"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(copy: Path, changes: dict[str, Any], sentence: str):
    edit(copy / "wanjet.json", lambda content: content.update(changes))
    with pytest.raises(CheckpointError, match=sentence):
        read_card(copy)
