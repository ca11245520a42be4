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

from inference.wan.checkpoint.model_card import WAN21_SIZES, read_card
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.load import Wan, load
from inference.wan.residual import IN_FP32
from tests.kit.tiny import image, job, latents

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
            r"transformer/config\.json: expected Wan2\.1 image-to-video, found Wan-T2V, text-to-video$",
        ),
        ("transformer/config.json", {"image_dim": None}, r"found Wan2\.2-I2V-A14B, .* no image encoder$"),
        ("transformer/config.json", {"added_kv_proj_dim": None}, r"expected added_kv_proj_dim to be set .* found none"),
        ("transformer/config.json", {"patch_size": [1, 1, 1]}, r"expected patch_size 1, 2, 2, found \[1, 1, 1\]$"),
        (
            "transformer/config.json",
            {"attention_head_dim": -5},
            r"transformer: expected a configuration to build .*\)$",
        ),
        ("transformer/config.json", {"in_channels": "many"}, r"transformer/config\.json: expected .* found that"),
        (
            "text_encoder/config.json",
            {"d_ff": "wide"},
            r"text_encoder: expected a configuration to build the model by, found d_ff wide, which it cannot be \(con",
        ),
        (
            "image_encoder/config.json",
            {"hidden_act": "none"},
            r"image_encoder: expected .*, found values that it cannot be built of \(config\.json\)$",
        ),
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


@pytest.mark.parametrize(
    ("place", "name", "default"),
    [
        ("Wan2.1-I2V-14B-480P", "Wan2.1-I2V-14B-480P", "832*480"),
        ("my-wan-480p-merge", "my-wan-480p-merge", "832*480"),
        ("Wan2.1-I2V-14B-720P", "Wan2.1-I2V-14B-720P", "1280*720"),
        ("Wan2.1-I2V-14B-480P-720P", "Wan2.1-I2V-14B-480P-720P", "1280*720"),
        (
            "models--Wan-AI--Wan2.1-I2V-14B-480P-Diffusers/snapshots/b184e23a8a16b20f108f727c902e769e873ffc73",
            "Wan2.1-I2V-14B-480P-Diffusers",
            "832*480",
        ),
        ("snapshots/b184e23a", "b184e23a", "1280*720"),
    ],
)
def test_without_a_card_the_folders_name_says_the_model_and_its_resolution(
    tmp_path: Path, place: str, name: str, default: str
):
    (tmp_path / place).mkdir(parents=True)
    card = read_card(tmp_path / place)
    assert (card.name, card.default_size, sorted(card.sizes)) == (name, default, sorted(WAN21_SIZES))


def test_a_link_to_a_snapshot_has_the_models_name(tmp_path: Path):
    snapshot = tmp_path / "models--Wan-AI--Wan2.1-I2V-14B-480P" / "snapshots" / "b184e23a"
    snapshot.mkdir(parents=True)
    (tmp_path / "model").symlink_to(snapshot)
    assert read_card(tmp_path / "model").name == "Wan2.1-I2V-14B-480P"
    (tmp_path / "wan-480p").symlink_to(tmp_path)
    assert read_card(tmp_path / "wan-480p").default_size == "832*480"


def test_a_card_may_say_the_shift_for_jobs_that_leave_it_out(copy: Path):
    assert read_card(copy).sample_shift is None
    edit(copy / "wanjet.json", lambda content: content.update(sample_shift=4.0))
    wan = load(copy, CPU)
    assert wan.card.sample_shift == 4.0
    as_asked = latents(wan, job(sample_shift=4.0), image())
    assert torch.equal(latents(wan, job(), image()), as_asked)
    assert not torch.equal(latents(wan, job(sample_shift=5.0), image()), as_asked)


def test_large_sizes_are_advertised_only_on_request(checkpoint: Path):
    assert load(checkpoint, CPU).card.sizes == ["64*48", "48*48"]
    assert load(checkpoint, CPU, large_sizes=True).card.sizes == ["64*48", "48*48", "128*96"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sizes": ["64*50"], "default_size": "64*50"}, r"expected sides that are multiples of 16, found 64\*50$"),
        ({"large_sizes": ["128*90"]}, r"expected sides that are multiples of 16, found 128\*90$"),
        ({"default_size": "16*16"}, r"expected default_size among 64\*48, 48\*48, found 16\*16$"),
        ({"sizes": ["832x480"]}, r"wanjet\.json: sizes\[0\] was 832x480; it may be W\*H in pixels, such as "),
        ({"sizes": ["64*48", 64]}, r"wanjet\.json: sizes\[1\] was 64; it may be W\*H in pixels, such as "),
        ({"sizes": []}, r"wanjet\.json: sizes was \[\]; it may be a list of 1 to 32 values, each of it W\*H in pixels"),
        ({"sizes": "64*48"}, r"wanjet\.json: sizes was 64\*48; it may be a list of 1 to 32 values, each of it W\*H"),
        ({"sizes": ["64*48"] * 33}, r"wanjet\.json: sizes was \[.*…; it may be a list of 1 to 32 values"),
        ({"large_sizes": None}, r"wanjet\.json: large_sizes was null; it may be a list of at most 32 values, each"),
        ({"large_sizes": ["auto"]}, r"wanjet\.json: large_sizes\[0\] was auto; it may be W\*H in pixels"),
        ({"default_size": 64}, r"wanjet\.json: default_size was 64; it may be W\*H in pixels"),
        ({"name": ""}, r'wanjet\.json: name was ""; it may be text from 1 to 256 characters$'),
        ({"name": "n" * 257}, r"wanjet\.json: name was n{100}…; it may be text from 1 to 256 characters$"),
        ({"name": ["a"]}, r'wanjet\.json: name was \["a"\]; it may be text from 1 to 256 characters$'),
        ({"sample_shift": 11}, r"wanjet\.json: sample_shift was 11; it may be a number from 0\.1 to 10\.0 or null$"),
        ({"sample_shift": "5"}, r'wanjet\.json: sample_shift was "5"; it may be a number from 0\.1 to 10\.0 or null$'),
        ({"sample_shift": True}, r"wanjet\.json: sample_shift was true; it may be a number"),
        ({"Default-Size": "64*48"}, r"wanjet\.json: Default-Size is not a field; did you mean default_size\?$"),
        ({"colour": "red"}, r"wanjet\.json: colour is not a field; the fields are name, sizes, .* and sample_shift$"),
        (
            {"name": 7, "sizes": ["64x48"], "size": 1},
            r"name was 7; it may be text [^;]*; sizes\[0\] was 64x48; it may be [^;]*; size is not a field",
        ),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(copy: Path, changes: dict[str, Any], sentence: str):
    edit(copy / "wanjet.json", lambda content: content.update(changes))
    with pytest.raises(CheckpointError, match=sentence):
        read_card(copy)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"name": "a", "sizes": ["64*48"]}', "default_size is missing; it may be W"),
        (b"[]", r"wanjet\.json: it was \[\]; it may be an object in braces$"),
        (b'"pocket"', r"wanjet\.json: it was pocket; it may be an object in braces$"),
        (b'{"name": "a",}', r"found that it is not JSON: a comma after the last field, at byte 13$"),
        (b'{"name": "a"', r"found that it is not JSON: it ends before the object does, at byte 12$"),
        (b"{'name': 'a'}", r"found that it is not JSON: a quote that JSON does not have .*, at byte 1$"),
        ('{"name": "é"}'.encode("latin-1"), r"found that it is not JSON: it is not in UTF-8, at byte 10$"),
        (b"[" * 100_000, r"found that it is not JSON: it nests too deeply$"),
        (b"", r"found an empty file$"),
    ],
)
def test_a_card_that_is_none_is_refused_in_plain_words(copy: Path, content: bytes, sentence: str):
    (copy / "wanjet.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence) as refused:
        read_card(copy)
    assert "\n" not in str(refused.value)


def test_a_card_may_begin_with_a_byte_order_mark(copy: Path):
    card = read_card(copy)
    (copy / "wanjet.json").write_bytes(b"\xef\xbb\xbf" + (copy / "wanjet.json").read_bytes())
    assert read_card(copy) == card


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("transformer/config.json", {"in_channels": "many"}, "in_channels was many; it may be a whole number$"),
        ("transformer/config.json", {"patch_size": [1, 2, "2"]}, r'patch_size\[2\] was "2"; it may be a whole number$'),
        ("vae/config.json", {"z_dim": None}, "z_dim was null; it may be a whole number$"),
        ("text_encoder/config.json", {"d_model": 1.5}, "d_model was 1.5; it may be a whole number$"),
        ("image_encoder/config.json", {"hidden_size": {}}, r"hidden_size was \{\}; it may be a whole number$"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_it_may_be(
    copy: Path, file: str, changes: dict[str, Any], sentence: str
):
    edit(copy / file, lambda content: content.update(changes))
    with pytest.raises(CheckpointError, match=f"{file}: expected the file .*, found that {sentence}"):
        load(copy, CPU)
