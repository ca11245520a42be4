"""The layout of Wan-Video/Wan2.1: the same model as in diffusers', and what is said of a broken one."""

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import nn

from inference.wan.checkpoint.original_layout import IMAGE_FILE, TEXT_FILE, VAE_FILE
from inference.wan.checkpoint.original_names import TRANSFORMER, VAE
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from tests.inference.wan.original import unstaged, upstream, write_original
from tests.kit.tiny import go_on, image, job

CPU = torch.device("cpu")
INDEX = "diffusion_pytorch_model.safetensors.index.json"
SHARD = "diffusion_pytorch_model-00002-of-00003.safetensors"


@pytest.fixture(scope="session")
def original(wan: Wan, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(wan, checkpoint, tmp_path_factory.mktemp("models") / "original")


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def test_both_layouts_give_the_same_video_bit_for_bit_but_for_what_clip_is_shown(wan: Wan, original: Path):
    found = load(original, CPU)
    assert found.card == wan.card
    same = replace(found, image_processor=wan.image_processor)
    video = generate(wan, job(), image(), go_on)
    assert torch.equal(generate(same, job(), image(), go_on), video)
    assert not torch.equal(generate(found, job(), image(), go_on), video)


def test_the_names_are_those_that_diffusers_converts():
    """Compare with diffusers' own converters, which support the published size only."""
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    theirs = upstream(unstaged(vae.state_dict(), resnets=3), VAE)
    assert "decoder.upsamples.14.residual.6.weight" in theirs
    assert set(convert_wan_vae_to_diffusers(dict(theirs))) == set(vae.state_dict())
    for name, ours in TRANSFORMER.items():
        ending = "" if "modulation" in name else ".weight"
        upstream_name = name.replace("*", "7") + ending
        converted: dict[str, Any] = convert_wan_transformer_to_diffusers({upstream_name: torch.zeros(2)})
        assert list(converted) == [ours.replace("*", "7") + ending]


def test_encoders_are_those_of_upstream_by_what_they_compute(wan: Wan, original: Path):
    """UMT5's gate and CLIP's fused projection: one layer of each written out from upstream's names."""
    text = torch.load(original / TEXT_FILE, weights_only=True)
    inputs = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    gate, fc1, fc2 = (text[f"blocks.0.ffn.{name}.weight"] for name in ("gate.0", "fc1", "fc2"))
    expected = (nn.functional.gelu(inputs @ gate.T, approximate="tanh") * (inputs @ fc1.T)) @ fc2.T
    dense = wan.text_encoder.get_submodule("encoder.block.0.layer.1.DenseReluDense")
    torch.testing.assert_close(dense(inputs), expected)
    clip = torch.load(original / IMAGE_FILE, weights_only=True)
    layer: Any = wan.image_encoder.get_submodule(
        next(name for name, _ in wan.image_encoder.named_modules() if name.endswith("layers.1.self_attn"))
    )
    patches = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    at = "visual.transformer.1.attn"
    fused = patches @ clip[f"{at}.to_qkv.weight"].T + clip[f"{at}.to_qkv.bias"]
    query, key, value = fused.view(1, 5, 3, 16, 1).transpose(1, 3).unbind(2)
    mixed = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(1, 5, 16)
    torch.testing.assert_close(
        layer(patches)[0], mixed @ clip[f"{at}.proj.weight"].T + clip[f"{at}.proj.bias"], atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "t2v"}, r"config\.json: expected Wan2\.1 image-to-video, found Wan-T2V, text-to-video$"),
        ({"model_type": "flf2v"}, r"found Wan2\.1-FLF2V, first and last frame to video$"),
        ({"model_type": "umt5"}, r"expected model_type i2v, found umt5$"),
        ({"model_type": None}, r"expected model_type i2v, found none$"),
        ({"in_dim": 16}, r"found Wan-T2V, text-to-video$"),
        ({"in_dim": 20}, r"expected in_dim 36 \(16 is text-to-video\), found 20$"),
        ({"num_layers": 3}, r"model: expected a tensor blocks\.2\..* \(and 31 more\), found none$"),
        ({"num_layers": 1}, r"model: expected no other tensors than Wan2\.1's, found blocks\.1\..* more\)$"),
        ({"ffn_dim": 64}, r"ffn\.net\.0\.proj\.\w+ of shape \[64.*found \[192"),
        ({"dim": "wide"}, r"config\.json: expected the file of a Wan2\.1 checkpoint, found that"),
    ],
)
def test_another_models_description_is_refused(copy: Path, changes: dict[str, Any], sentence: str):
    config = msgspec.json.decode((copy / "config.json").read_bytes())
    (copy / "config.json").write_bytes(msgspec.json.encode(config | changes))
    with pytest.raises(CheckpointError, match=sentence):
        load(copy, CPU)


@pytest.mark.parametrize("file", [SHARD, TEXT_FILE, VAE_FILE, IMAGE_FILE])
def test_a_file_that_is_missing_is_named(copy: Path, file: str):
    (copy / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file}: expected this file with weights, found none$"):
        load(copy, CPU)


@pytest.mark.parametrize(("file", "found"), [(INDEX, "with an index if several"), ("google/umt5-xxl", "tokenizer")])
def test_what_else_is_missing_is_named(copy: Path, file: str, found: str):
    target = copy / file
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(CheckpointError, match=rf"expected .*{found}.*, found"):
        load(copy, CPU)


def test_a_shard_that_was_cut_off_is_told_by_its_size(copy: Path):
    size = (copy / SHARD).stat().st_size
    os.truncate(copy / SHARD, size // 2)
    with pytest.raises(CheckpointError, match=rf"{SHARD}: expected {size} bytes, found {size // 2}$"):
        load(copy, CPU)


@pytest.mark.parametrize("file", [TEXT_FILE, VAE_FILE, IMAGE_FILE])
def test_a_pth_file_that_was_cut_off_is_refused(copy: Path, file: str):
    os.truncate(copy / file, (copy / file).stat().st_size // 2)
    with pytest.raises(CheckpointError, match=rf"{file}: expected a whole file of torch\.save, found one that"):
        load(copy, CPU)


def test_nothing_in_a_pth_file_is_run(copy: Path):
    class Runs:
        """Makes a folder when it is unpickled."""

        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return (os.mkdir, (str(copy / "ran"),))

    torch.save({"conv1.weight": Runs()}, copy / VAE_FILE, pickle_module=pickle)
    with pytest.raises(CheckpointError, match=rf"{VAE_FILE}: expected tensors and nothing that runs, found other"):
        load(copy, CPU)
    assert not (copy / "ran").exists()


def reshaped(tensors: dict[str, torch.Tensor], name: str, *shape: int) -> dict[str, torch.Tensor]:
    return tensors | {name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("file", "name", "shape", "sentence"),
    [
        (TEXT_FILE, "token_embedding.weight", (259, 16), r"expected an encoder of width 32, found 16$"),
        (TEXT_FILE, "blocks.1.ffn.fc2.weight", (32, 60), r"DenseReluDense\.wo\.weight of shape .*found \[32, 60\]$"),
        (IMAGE_FILE, "visual.post_norm.weight", (8,), r"expected an encoder of width 16, found 8$"),
        (VAE_FILE, "conv2.weight", (48, 48, 1, 1, 1), r"expected 16 latent channels, found 48$"),
        (VAE_FILE, "decoder.head.2.bias", (4,), r"decoder\.conv_out\.bias of shape \[3\], found \[4\]$"),
    ],
)
def test_a_tensor_of_another_shape_is_named(copy: Path, file: str, name: str, shape: tuple[int, ...], sentence: str):
    torch.save(reshaped(torch.load(copy / file, weights_only=True), name, *shape), copy / file)
    with pytest.raises(CheckpointError, match=sentence):
        load(copy, CPU)


def test_a_text_to_video_transformer_is_told_by_its_channels(copy: Path):
    for file in copy.glob("*.safetensors"):
        tensors = load_file(file)
        if "patch_embedding.weight" in tensors:
            save_file(reshaped(tensors, "patch_embedding.weight", 48, 16, 1, 2, 2), file)
    with pytest.raises(
        CheckpointError, match=r"patch_embedding\.weight of shape \[48, 36, .*found \[48, 16, 1, 2, 2\]$"
    ):
        load(copy, CPU)
