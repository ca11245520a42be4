"""Opens a checkpoint in diffusers' layout, with a folder for each component. Called by `open`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from msgspec import Struct
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from inference.wan.checkpoint.components import NOTHING, Checkpoint, Component, expect, read_json
from inference.wan.checkpoint.places import INDEX_FILE
from inference.wan.checkpoint.relatives import WANTED, in_diffusers
from inference.wan.checkpoint.tensors import CheckpointError, Stored, read_safetensors
from inference.wan.checkpoint.unused import is_lora, not_used
from inference.wan.clip_pixels import CLIPImageProcessorPil

PROCESSOR_FILE = "preprocessor_config.json"
OTHER_WEIGHTS = (".bin", ".gguf", ".pt", ".pth", ".ckpt")

INDEX_CLASSES = {
    "transformer": "WanTransformer3DModel",
    "vae": "AutoencoderKLWan",
    "text_encoder": "UMT5EncoderModel",
    "image_encoder": "CLIPVisionModel",
}


DECODER = r"decoder\.|lm_head\."
REST_OF_CLIP = r"visual_projection\.|text_|logit_scale|embeddings\.position_ids"
"""Tensors with which UMT5's encoder and CLIP's vision model may have been saved, and which are not used."""


class _Transformer(Struct):
    """The checked fields of `transformer/config.json`."""

    in_channels: int
    text_dim: int
    patch_size: list[int]
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None


class _Vae(Struct):
    """The checked fields of `vae/config.json`."""

    z_dim: int
    scale_factor_spatial: int = 8
    scale_factor_temporal: int = 4


class _TextEncoder(Struct):
    """The checked fields of `text_encoder/config.json`."""

    d_model: int


class _ImageEncoder(Struct):
    """The checked fields of `image_encoder/config.json`."""

    hidden_size: int


def open_diffusers(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`, unread. Raises `CheckpointError` unless its files are Wan2.1 image-to-video's.

    The tensors are not checked here: `check_component` does that.
    """
    index, described = folder / INDEX_FILE, folder / "transformer" / "config.json"
    components = read_json(index, dict[str, Any])
    relative = in_diffusers(components, read_json(described, dict[str, Any]))
    if relative is not None:
        raise CheckpointError(f"{described}: expected {WANTED}, found {relative}")
    transformer = read_json(described, _Transformer)
    _check_transformer(transformer, described)
    for name, kind in INDEX_CLASSES.items():
        expect(index, f"{name} of class {kind}", _class_name(components, name), kind)
    _check_vae(read_json(folder / "vae" / "config.json", _Vae), folder / "vae" / "config.json")
    text = read_json(folder / "text_encoder" / "config.json", _TextEncoder)
    expect(folder / "text_encoder", f"d_model {transformer.text_dim}", text.d_model, transformer.text_dim)
    image = read_json(folder / "image_encoder" / "config.json", _ImageEncoder)
    expect(folder / "image_encoder", f"hidden_size {transformer.image_dim}", image.hidden_size, transformer.image_dim)
    return Checkpoint(
        transformer=_component(folder / "transformer", lambda at: _from_config(WanTransformer3DModel, at)),
        vae=_component(folder / "vae", lambda at: _from_config(AutoencoderKLWan, at)),
        text_encoder=_component(folder / "text_encoder", _text_encoder, umt5_name, DECODER),
        image_encoder=_component(folder / "image_encoder", _image_encoder, clip_name, REST_OF_CLIP),
        tokenizer=folder / "tokenizer",
        image_processor=lambda: _image_processor(folder / "image_processor"),
        configs={
            **{f"{name}/config.json": folder / name / "config.json" for name in INDEX_CLASSES},
            **{f"image_processor/{file.name}": file for file in (folder / "image_processor").glob("*.json")},
        },
        layout="diffusers",
        unused=not_used(folder, [file for name in INDEX_CLASSES for file in weight_files(folder / name)]),
    )


def _class_name(index: dict[str, Any], name: str) -> str | None:
    """Return the class of a component in `model_index.json`, without `WithProjection`; None if it names none."""
    # A CLIP that was saved with its projection contains the same encoder.
    named = index.get(name)
    return str(named[-1] or "").removesuffix("WithProjection") or None if isinstance(named, list) and named else None


def _check_transformer(config: _Transformer, file: Path) -> None:
    """Raise `CheckpointError` unless the configuration is of Wan2.1 image-to-video's transformer."""
    expect(file, "in_channels 36 (16 is text-to-video)", config.in_channels, 36)
    expect(file, "patch_size 1, 2, 2", config.patch_size, [1, 2, 2])
    for name in ("image_dim", "added_kv_proj_dim"):
        if getattr(config, name) is None:
            raise CheckpointError(f"{file}: expected {name} to be set (Wan2.2 leaves it out), found none")


def _check_vae(config: _Vae, file: Path) -> None:
    """Raise `CheckpointError` unless the configuration is of Wan2.1's VAE."""
    expect(file, "z_dim 16", config.z_dim, 16)
    expect(file, "scale_factor_spatial 8", config.scale_factor_spatial, 8)
    expect(file, "scale_factor_temporal 4", config.scale_factor_temporal, 4)


def _from_config(kind: Any, folder: Path) -> nn.Module:
    """Return the module of diffusers' class `kind` that the folder's configuration describes, with random weights."""
    return kind.from_config(kind.load_config(folder, local_files_only=True))


def _component(
    folder: Path, build: Callable[[Path], nn.Module], canonical: Callable[[str], str] = str, unused: str = NOTHING
) -> Component:
    """Return the unread component in a folder. Raises `CheckpointError` if its weight files cannot be used."""
    tensors = {canonical(name): tensor for name, tensor in stored(folder).items()}
    return Component(folder, lambda: build(folder), tensors, canonical, unused)


def _image_processor(folder: Path) -> CLIPImageProcessorPil:
    """Return the image processor that the folder describes. Raises `CheckpointError`."""
    read_json(folder / PROCESSOR_FILE, dict[str, Any])
    try:
        return CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises anything for a bad value
        raise CheckpointError(f"{folder}: expected CLIP's image processor, found one that cannot be read") from error


def _text_encoder(folder: Path) -> UMT5EncoderModel:
    """Return the UMT5 encoder that the folder's configuration describes, with random weights."""
    return UMT5EncoderModel(UMT5Config.from_pretrained(folder, local_files_only=True))


def umt5_name(name: str) -> str:
    """Return the canonical name of a parameter of UMT5's encoder."""
    return name.replace("encoder.embed_tokens.", "shared.")  # one tensor under two names


def _image_encoder(folder: Path) -> CLIPVisionModel:
    """Return the CLIP vision model that the folder's configuration describes, with random weights."""
    return CLIPVisionModel(CLIPVisionConfig.from_pretrained(folder, local_files_only=True))


def clip_name(name: str) -> str:
    """Return the canonical name of a parameter of CLIP's vision model."""
    return name.removeprefix("vision_model.")  # transformers had this before 5.24


def stored(folder: Path) -> dict[str, Stored]:
    """Return a folder's tensors by name, unread, from one file or from several with an index. Raises `CheckpointError`.

    Only safetensors are read: a pickle can run code.
    """
    return read_safetensors(weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Return the files that the folder's index names, or, without an index, the only file that is no LoRA.

    Raises `CheckpointError` without an index if there is no such file, or more than one, and for a bad index.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"), key=lambda file: len(file.name))
    if indices:
        return [folder / file for file in sorted(set(read_json(indices[0], _Index).weight_map.values()))]
    files = sorted(folder.glob("*.safetensors"))
    models = [file for file in files if not is_lora(file)] if len(files) > 1 else files
    if len(models) != 1:
        others = [file.name for file in sorted(folder.glob("*")) if file.suffix in OTHER_WEIGHTS]
        rather = f" rather than {', '.join(others)}," if others else ""
        found = ", ".join(file.name for file in files) or "none"
        raise CheckpointError(
            f"{folder}: expected weights as .safetensors, with an index if several,{rather} found {found}"
        )
    return models


class _Index(Struct):
    """The used field of `*.safetensors.index.json`: file names by tensor name."""

    weight_map: dict[str, str]
