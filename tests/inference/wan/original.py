"""Writes a model in the layout of Wan-Video/Wan2.1: the way back from our names to upstream's."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from inference.wan.checkpoint.original_layout import IMAGE_FILE, TEXT_FILE, TOKENIZER_FOLDER, VAE_FILE
from inference.wan.checkpoint.original_names import QKV, RESIDUAL, TEXT_ENCODER, TRANSFORMER, VAE
from inference.wan.checkpoint.places import CONFIG_FILE
from inference.wan.load import Wan

SHARDS = 3


def write_original(wan: Wan, source: Path, folder: Path) -> Path:
    """The model that was loaded from `source`, in a new folder."""
    (folder / TOKENIZER_FOLDER).parent.mkdir(parents=True)
    shutil.copytree(source / "tokenizer", folder / TOKENIZER_FOLDER)
    shutil.copy(source / "wanjet.json", folder)
    config = wan.transformer.config
    described = {
        "_class_name": "WanModel",
        "dim": config["num_attention_heads"] * config["attention_head_dim"],
        "eps": config["eps"],
        "ffn_dim": config["ffn_dim"],
        "freq_dim": config["freq_dim"],
        "in_dim": config["in_channels"],
        "model_type": "i2v",
        "num_heads": config["num_attention_heads"],
        "num_layers": config["num_layers"],
        "out_dim": config["out_channels"],
        "text_len": 512,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(described))
    write_shards(upstream(wan.transformer.state_dict(), TRANSFORMER), folder)
    text = {name: tensor for name, tensor in wan.text_encoder.state_dict().items() if "embed_tokens" not in name}
    torch.save(upstream(text, TEXT_ENCODER), folder / TEXT_FILE)
    torch.save(upstream(unstaged(wan.vae.state_dict(), wan.vae.config["num_res_blocks"] + 1), VAE), folder / VAE_FILE)
    torch.save(whole_clip(wan.image_encoder.state_dict()), folder / IMAGE_FILE)
    return folder


def write_shards(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for at in range(SHARDS):
        file = f"diffusion_pytorch_model-{at + 1:05}-of-{SHARDS:05}.safetensors"
        save_file({name: tensors[name].contiguous() for name in names[at::SHARDS]}, folder / file)
        weight_map |= dict.fromkeys(names[at::SHARDS], file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def upstream(ours: Mapping[str, torch.Tensor], table: Mapping[str, str]) -> dict[str, torch.Tensor]:
    patterns = [
        (re.compile(re.escape(mine).replace(r"\*", r"(\d+)") + r"(\.weight|\.bias|\.gamma|)"), theirs)
        for theirs, mine in table.items()
    ]

    def rename(name: str) -> str:
        for pattern, theirs in patterns:
            if match := pattern.fullmatch(name):
                return theirs.replace("*", match[1]) + match[match.lastindex or 0]
        return name

    return {rename(name): tensor for name, tensor in ours.items()}


def unstaged(ours: Mapping[str, torch.Tensor], resnets: int) -> dict[str, torch.Tensor]:
    """Upstream counts the layers of the decoder through."""
    theirs = {mine: name for name, mine in RESIDUAL.items()}

    def rename(name: str) -> str:
        if match := re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.*)\.(\w+)", name):
            at = int(match[3]) if match[2] == "resnets" else resnets
            layer = theirs.get(match[4], match[4])
            return f"decoder.upsamples.{int(match[1]) * (resnets + 1) + at}.{layer}.{match[5]}"
        return name

    return {rename(name): tensor for name, tensor in ours.items()}


def whole_clip(ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """CLIP's eye, its projection, and something of the half for text, which nobody here asks for."""
    named = {
        "embeddings.class_embedding": "cls_embedding",
        "embeddings.patch_embedding.weight": "patch_embedding.weight",
        "embeddings.position_embedding.weight": "pos_embedding",
        **{f"pre_layrnorm.{kind}": f"pre_norm.{kind}" for kind in ("weight", "bias")},
        **{f"post_layernorm.{kind}": f"post_norm.{kind}" for kind in ("weight", "bias")},
    }
    layers = {
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "self_attn.out_proj": "attn.proj",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    }
    eye: dict[str, torch.Tensor] = {}
    for full_name, tensor in ours.items():
        name = full_name.removeprefix("vision_model.")
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name):
            if match[2] in layers:
                eye[f"transformer.{match[1]}.{layers[match[2]]}.{match[3]}"] = tensor
            elif match[2].endswith("q_proj"):
                fused = [ours[full_name.replace("q_proj", projection)] for projection in QKV]
                eye[f"transformer.{match[1]}.attn.to_qkv.{match[3]}"] = torch.cat(fused)
        else:
            eye[named.get(name, name.replace("pre_layrnorm", "pre_norm").replace("post_layernorm", "post_norm"))] = (
                tensor
            )
    eye["cls_embedding"] = eye["cls_embedding"][None, None]
    eye["pos_embedding"] = eye["pos_embedding"][None]
    eye["head"] = torch.zeros(eye["post_norm.weight"].numel(), 4)
    return {f"visual.{name}": tensor for name, tensor in eye.items()} | {
        "log_scale": torch.tensor(1.0),
        "textual.norm.weight": torch.zeros(3),
    }
