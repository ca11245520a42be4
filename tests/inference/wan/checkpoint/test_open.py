"""Folders that people point at: each file is opened before a weight is read, and relatives are told by their names."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.load import Wan
from tests.inference.wan.original import write_original

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
HTML = "<!doctype html>\n<html><body>401 Unauthorized</body></html>"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "model")


@pytest.fixture(scope="module")
def original(wan: Wan, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(wan, checkpoint, tmp_path_factory.mktemp("models") / "original")


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        open_checkpoint(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))


def add(file: Path, *names: str) -> None:
    save_file(load_file(file) | {name: torch.zeros(2) for name in names}, file, {"format": "pt"})


FILES = [
    "model_index.json",
    "transformer/config.json",
    f"transformer/{WEIGHTS}",
    "vae/config.json",
    f"vae/{WEIGHTS}",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "image_processor/preprocessor_config.json",
]


@pytest.mark.parametrize("file", FILES)
def test_a_pointer_of_git_lfs_says_what_puts_the_file_there(copy: Path, file: str):
    (copy / file).write_text(LFS)
    said = refusal(copy)
    assert said.startswith(f"{copy / file}: expected this file")
    assert "git-lfs pointer" in said
    assert "`git lfs pull`" in said


@pytest.mark.parametrize("file", FILES)
def test_a_page_an_empty_file_and_a_missing_one_are_named(copy: Path, file: str):
    (copy / file).write_text(HTML)
    assert "found an HTML page" in refusal(copy)
    (copy / file).write_text("")
    assert "found an empty file" in refusal(copy)
    (copy / file).unlink()
    assert "found n" in refusal(copy)
    (copy / file).symlink_to("../../blobs/4d7a2146")
    assert refusal(copy).endswith("found a link to ../../blobs/4d7a2146, which is not there")


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".json")])
def test_a_file_of_json_that_was_cut_off_is_named(copy: Path, file: str):
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    assert refusal(copy).startswith(f"{copy / file}: expected the file of a Wan2.1 checkpoint, found that ")


@pytest.mark.parametrize("file", FILES)
def test_bytes_that_are_no_text_are_one_sentence(copy: Path, file: str):
    (copy / file).write_bytes(b"\xff\xfe\x80" * 400)
    assert str(copy / file) in refusal(copy)


@pytest.mark.parametrize(
    "part", ["tokenizer", "image_processor", "vae", "text_encoder", "image_encoder", "transformer"]
)
def test_a_part_that_is_missing_is_named(copy: Path, part: str):
    shutil.rmtree(copy / part)
    assert refusal(copy).startswith(f"{copy / part}")


def test_the_original_layouts_tokenizer_may_be_a_pointer_too(original: Path, tmp_path: Path):
    folder = shutil.copytree(original, tmp_path / "model")
    (folder / "google/umt5-xxl/tokenizer.json").write_text(LFS)
    assert "`git lfs pull`" in refusal(folder)


def test_an_image_processor_of_another_size_is_refused(copy: Path):
    edit(copy / "image_processor/preprocessor_config.json", crop_size={"height": 56, "width": 56})
    assert refusal(copy).endswith("expected an image processor that makes 28×28, found 56×56")


def test_a_tokenizer_of_more_tokens_than_the_encoder_has_is_refused(copy: Path):
    file = copy / "tokenizer/tokenizer.json"
    described = json.loads(file.read_bytes())
    described["added_tokens"] += [{**described["added_tokens"][0], "id": 99999, "content": "<new>"}]
    file.write_text(json.dumps(described))
    assert "tokens at most, found" in refusal(copy)


DIFFUSERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "FLF2V": ({}, {"pos_embed_seq_len": 514}, "Wan2.1-FLF2V"),
    "T2V": ({"_class_name": "WanPipeline"}, {"in_channels": 16, "image_dim": None}, "Wan-T2V"),
    "VACE": (
        {"_class_name": "WanVACEPipeline", "transformer": ["diffusers", "WanVACETransformer3DModel"]},
        {"_class_name": "WanVACETransformer3DModel", "vace_layers": [0, 5], "in_channels": 16},
        "Wan-VACE",
    ),
    "I2V-A14B": (
        {"transformer_2": ["diffusers", "WanTransformer3DModel"], "boundary_ratio": 0.9, "image_encoder": [None, None]},
        {"image_dim": None, "added_kv_proj_dim": None},
        "Wan2.2-I2V-A14B",
    ),
    "I2V-A14B with an eye": ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, {}, "Wan2.2-I2V-A14B"),
    "boundary alone": ({"boundary_ratio": 0.9}, {}, "Wan2.2-I2V-A14B"),
    "T2V-A14B": ({"boundary_ratio": 0.875}, {"in_channels": 16, "image_dim": None}, "Wan2.2-T2V-A14B"),
    "TI2V-5B": ({"expand_timesteps": True}, {"in_channels": 48, "out_channels": 48}, "Wan2.2-TI2V-5B"),
    "Animate": (
        {"_class_name": "WanAnimatePipeline"},
        {"_class_name": "WanAnimateTransformer3DModel", "motion_encoder_dim": 512},
        "Wan2.2-Animate",
    ),
    "Fun-Control": ({}, {"in_channels": 48}, "Wan-Fun-Control"),
    "SkyReels": ({}, {"_class_name": "SkyReelsV2Transformer3DModel"}, "SkyReels-V2"),
}


@pytest.mark.parametrize("name", DIFFUSERS)
def test_a_relative_in_diffusers_layout_is_told_by_its_configuration(copy: Path, name: str):
    index, transformer, said = DIFFUSERS[name]
    edit(copy / "model_index.json", **index)
    edit(copy / "transformer/config.json", **transformer)
    assert f"expected Wan2.1 image-to-video, found {said}" in refusal(copy)


def test_keys_that_newer_versions_write_and_that_say_nothing_are_no_relative(copy: Path):
    edit(copy / "model_index.json", transformer_2=[None, None], boundary_ratio=None, expand_timesteps=False)
    edit(copy / "transformer/config.json", pos_embed_seq_len=None)
    open_checkpoint(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "flf2v"}, "Wan2.1-FLF2V"),
        ({"model_type": "flf2v-14B"}, "Wan2.1-FLF2V"),
        ({"model_type": "vace-14B"}, "Wan-VACE"),
        ({"model_type": "t2v-1.3B"}, "Wan-T2V"),
        ({"model_type": "i2v-A14B"}, "Wan2.2-I2V-A14B"),
        ({"model_type": "I2V_A14B"}, "Wan2.2-I2V-A14B"),
        ({"model_type": "wan2.2-i2v"}, "Wan2.2-I2V-A14B"),
        ({"model_type": "t2v-A14B"}, "Wan2.2-T2V-A14B"),
        ({"model_type": "wan2.2"}, "Wan2.2-A14B"),
        ({"model_type": "ti2v-5B"}, "Wan2.2-TI2V-5B"),
        ({"model_type": "s2v-14B"}, "Wan2.2-S2V"),
        ({"model_type": "animate-14B"}, "Wan2.2-Animate"),
        ({"model_type": "vace"}, "Wan-VACE"),
        ({"model_type": "ti2v", "in_dim": 48}, "Wan2.2-TI2V-5B"),
        ({"model_type": "s2v", "_class_name": "WanModel_S2V"}, "Wan2.2-S2V"),
        ({"_class_name": "WanAnimateModel"}, "Wan2.2-Animate"),
        ({"in_dim": 48}, "Wan-Fun-Control"),
        ({"in_dim": 32, "add_control_adapter": True}, "Wan-Fun-Control-Camera"),
        ({"in_dim": 36, "add_ref_conv": True}, "Wan-Fun-Control"),
    ],
)
def test_a_relative_in_the_original_layout_is_told_by_its_configuration(
    original: Path, tmp_path: Path, changes: dict[str, Any], said: str
):
    folder = shutil.copytree(original, tmp_path / "model")
    edit(folder / "config.json", **changes)
    assert f"expected Wan2.1 image-to-video, found {said}" in refusal(folder)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ("condition_embedder.image_embedder.pos_embed", "Wan2.1-FLF2V"),
        ("vace_blocks.0.proj_out.weight", "Wan-VACE"),
        ("face_adapter.fuser_blocks.0.linear1_kv.weight", "Wan2.2-Animate"),
        ("blocks.0.attn1.to_q.lora_A.weight", "a LoRA"),
        ("control_adapter.conv.weight", "Wan-Fun-Control-Camera"),
    ],
)
def test_a_relative_whose_configuration_is_silent_is_told_by_a_tensor(copy: Path, tensor: str, said: str):
    add(copy / "transformer" / WEIGHTS, tensor)
    assert f"found {said}" in refusal(copy)


def test_an_expert_of_wan22_is_refused_by_a_name_in_its_own_files(original: Path, tmp_path: Path):
    folder = shutil.copytree(original, tmp_path / "high_noise_model")
    for file in folder.glob("*.safetensors"):
        kept = {name: tensor for name, tensor in load_file(file).items() if "img" not in name}
        save_file(kept, file, {"format": "pt"})
    said = refusal(folder)
    assert "found Wan2.2-I2V-A14B" in said
    assert said.endswith("(no tensor img_emb.proj.1.weight)")


def test_a_lora_beside_the_transformer_is_named_as_not_used(copy: Path, original: Path, tmp_path: Path):
    assert open_checkpoint(copy).unused == []
    lora = {"diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.zeros(2, 2)}
    save_file(lora, copy / "transformer" / "style.safetensors")
    save_file(lora, copy / "pytorch_lora_weights.safetensors")
    save_file({"x": torch.zeros(2)}, copy / "more.safetensors")
    found = {each.file.name: each.what for each in open_checkpoint(copy).unused}
    assert found == {
        "style.safetensors": "LoRA",
        "pytorch_lora_weights.safetensors": "LoRA",
        "more.safetensors": "weights",
    }
    folder = shutil.copytree(original, tmp_path / "original")
    save_file(lora, folder / "camera.safetensors")
    assert [str(each) for each in open_checkpoint(folder).unused] == [
        f"{folder / 'camera.safetensors'} is not used: no LoRA is applied"
    ]


def hub_cache(copy: Path) -> tuple[Path, str]:
    snapshot = copy.parent / "hub/models--Wan-AI--Wan2.1-I2V-14B-480P-Diffusers/snapshots/b184e23a"
    snapshot.parent.mkdir(parents=True)
    copy.rename(snapshot)
    return snapshot, f"found a cache of the hub, with the checkpoint in {snapshot}"


PLACES: dict[str, Callable[[Path], tuple[Path, str]]] = {
    "a cache of the hub": lambda copy: (hub_cache(copy)[0].parent.parent, "found a cache of the hub, with the"),
    "its snapshots": lambda copy: (hub_cache(copy)[0].parent, "snapshots/b184e23a"),
    "its root": lambda copy: (hub_cache(copy)[0].parent.parent.parent, "snapshots/b184e23a"),
    "the folder above": lambda copy: (copy.parent, f"but in {copy}"),
    "the transformer": lambda copy: (copy / "transformer", f"found its transformer; the folder is {copy}"),
    "a file": lambda copy: (copy / "transformer" / WEIGHTS, "found a single file; files for ComfyUI and GGUF"),
    "a hub's name": lambda _copy: (
        Path("Wan-AI/Wan2.1-I2V-14B-480P"),
        "hf download Wan-AI/Wan2.1-I2V-14B-480P --local",
    ),
    "a home": lambda _copy: (Path("~/models/wan"), "a ~ is the shell's"),
    "nothing": lambda copy: (copy / "nowhere", "found none"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_path_beside_the_checkpoint_says_where_to_look(copy: Path, name: str):
    folder, said = PLACES[name](copy)
    assert said in refusal(folder)


@pytest.mark.parametrize("file", ["Wan2_1-I2V-14B-480P_fp8.safetensors", "wan2.1-i2v-14b-480p-Q4_K_M.gguf"])
def test_a_folder_with_a_single_file_says_that_it_is_not_supported(tmp_path: Path, file: str):
    (tmp_path / file).write_bytes(b"GGUF" + b"\1" * 100)
    assert f"found neither beside {file}; single files for ComfyUI and GGUF" in refusal(tmp_path)


def test_the_folder_of_wan22_is_told_by_its_experts(tmp_path: Path):
    (tmp_path / "high_noise_model").mkdir()
    (tmp_path / "low_noise_model").mkdir()
    assert "found Wan2.2-A14B, which has two transformers" in refusal(tmp_path)


def test_a_snapshot_of_links_is_opened(copy: Path, tmp_path: Path):
    for file in copy.rglob("*"):
        if file.is_file():
            link = tmp_path / "snapshot" / file.relative_to(copy)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    open_checkpoint(tmp_path / "snapshot")
