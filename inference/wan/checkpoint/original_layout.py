"""Opens a checkpoint in the layout in which Wan-Video/Wan2.1 publishes it. Called by `open`.

Its `config.json` describes the transformer alone; the dimensions of the other components are read from the shapes of
their tensors. `original_names` translates the tensor names into diffusers' and transformers'.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from msgspec import Struct
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from inference.wan.checkpoint.components import Checkpoint, Component, expect, read_json
from inference.wan.checkpoint.diffusers_layout import clip_name, stored, umt5_name, weight_files
from inference.wan.checkpoint.original_names import (
    IMAGE_ENCODER,
    TEXT_ENCODER,
    TRANSFORMER,
    VAE,
    by_stage,
    renamed,
    split_qkv,
)
from inference.wan.checkpoint.places import CONFIG_FILE
from inference.wan.checkpoint.relatives import WAN22_I2V, WANTED, in_original, in_tensors
from inference.wan.checkpoint.tensors import CheckpointError, Stored, read_pickle
from inference.wan.checkpoint.unused import not_used
from inference.wan.clip_pixels import WholePicture

TEXT_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
VAE_FILE = "Wan2.1_VAE.pth"
IMAGE_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
TOKENIZER_FOLDER = "google/umt5-xxl"

CLIP_HEADS = 16  # of ViT-H/14; the tensors' shapes do not show the number of heads


class _Config(Struct):
    """The used fields of Wan2.1's `config.json`, with upstream's defaults."""

    model_type: str | None = None
    in_dim: int | None = None
    out_dim: int = 16
    dim: int = 5120
    ffn_dim: int = 13824
    freq_dim: int = 256
    num_heads: int = 40
    num_layers: int = 40
    eps: float = 1e-6


def open_original(folder: Path) -> Checkpoint:
    """Return the unread checkpoint in `folder`. Raises `CheckpointError` unless it is Wan2.1 image-to-video's."""
    relative = in_original(read_json(folder / CONFIG_FILE, dict[str, Any]))
    if relative is not None:
        raise CheckpointError(f"{folder / CONFIG_FILE}: expected {WANTED}, found {relative}")
    config = read_json(folder / CONFIG_FILE, _Config)
    expect(folder / CONFIG_FILE, "model_type i2v", config.model_type, "i2v")
    expect(folder / CONFIG_FILE, "in_dim 36 (16 is text-to-video)", config.in_dim, 36)
    transformer = _transformer(folder, config)
    text_encoder = _text_encoder(folder / TEXT_FILE)
    image_encoder, image_side = _image_encoder(folder / IMAGE_FILE)
    _check_fit(folder / TEXT_FILE, text_encoder.stored["shared.weight"], transformer, "text_embedder.linear_1")
    _check_fit(
        folder / IMAGE_FILE, image_encoder.stored["post_layernorm.weight"], transformer, "image_embedder.ff.net.0.proj"
    )
    tokenizer = folder / TOKENIZER_FOLDER
    return Checkpoint(
        transformer=transformer,
        vae=_vae(folder / VAE_FILE),
        text_encoder=text_encoder,
        image_encoder=image_encoder,
        tokenizer=tokenizer,
        image_processor=lambda: WholePicture(image_side),
        configs={CONFIG_FILE: folder / CONFIG_FILE},
        layout="original",
        unused=not_used(folder, weight_files(folder)),
    )


def _transformer(folder: Path, config: _Config) -> Component:
    """Return the unread transformer; embeddings' widths come from its tensors. Raises `CheckpointError`."""
    theirs = stored(folder)
    if (relative := in_tensors(theirs)) is not None:
        raise CheckpointError(f"{folder}: expected {WANTED}, found {relative}")
    text = _required(folder, theirs, "text_embedding.0.weight")
    if "img_emb.proj.1.weight" not in theirs:
        raise CheckpointError(f"{folder}: expected {WANTED}, found {WAN22_I2V} (no tensor img_emb.proj.1.weight)")
    image, tensors = theirs["img_emb.proj.1.weight"], renamed(theirs, TRANSFORMER)
    return Component(
        folder,
        lambda: WanTransformer3DModel(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.dim // config.num_heads,
            in_channels=36,
            out_channels=config.out_dim,
            text_dim=text.shape[1],
            freq_dim=config.freq_dim,
            ffn_dim=config.ffn_dim,
            num_layers=config.num_layers,
            eps=config.eps,
            image_dim=image.shape[1],
            added_kv_proj_dim=config.dim,
        ),
        tensors,
    )


def _text_encoder(file: Path) -> Component:
    """Return the unread UMT5 encoder, with all dimensions from its tensors. Raises `CheckpointError`."""
    tensors = renamed(read_pickle(file), TEXT_ENCODER)
    block = "encoder.block.0.layer"
    vocabulary, dim = _required(file, tensors, "shared.weight").shape
    buckets, heads = _required(file, tensors, f"{block}.0.SelfAttention.relative_attention_bias.weight").shape
    inner = _required(file, tensors, f"{block}.0.SelfAttention.q.weight").shape[0]
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=dim,
        d_kv=inner // heads,
        d_ff=_required(file, tensors, f"{block}.1.DenseReluDense.wi_0.weight").shape[0],
        num_layers=_count(tensors, r"encoder\.block\.(\d+)\."),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
    )
    return Component(file, lambda: UMT5EncoderModel(config), tensors, umt5_name)


def _image_encoder(file: Path) -> tuple[Component, int]:
    """Return CLIP's unread vision model and the side of its pictures in pixels. Raises `CheckpointError`."""
    visual = {  # the file also holds CLIP's text model
        name.removeprefix("visual."): tensor for name, tensor in read_pickle(file).items() if name.startswith("visual.")
    }
    tensors = split_qkv(renamed(visual, IMAGE_ENCODER))
    hidden, _, patch, _ = _required(file, tensors, "embeddings.patch_embedding.weight").shape
    positions = _required(file, tensors, "embeddings.position_embedding.weight").shape[0]
    side = math.isqrt(positions - 1) * patch
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=_required(file, tensors, "encoder.layers.0.mlp.fc1.weight").shape[0],
        num_hidden_layers=_count(tensors, r"encoder\.layers\.(\d+)\."),
        num_attention_heads=CLIP_HEADS,
        image_size=side,
        patch_size=patch,
        hidden_act="gelu",
    )
    return Component(file, lambda: CLIPVisionModel(config), tensors, clip_name, unused=r"head$"), side


def _vae(file: Path) -> Component:
    """Return the unread VAE; widths, stages and resnets come from its tensors. Raises `CheckpointError`."""
    theirs = read_pickle(file)
    z_dim = _required(file, theirs, "conv2.weight").shape[0]
    base = _required(file, theirs, "encoder.conv1.weight").shape[0]
    ends = _numbers(theirs, r"encoder\.downsamples\.(\d+)\.resample\.")  # each stage but the last ends with one
    if not ends:
        raise CheckpointError(f"{file}: expected the VAE of Wan2.1, found none of its downsampling")
    res_blocks = ends[0]
    firsts = [0, *(end + 1 for end in ends)]
    dims = [_required(file, theirs, f"encoder.downsamples.{first}.residual.6.weight").shape[0] for first in firsts]
    expect(file, "16 latent channels", z_dim, 16)
    return Component(
        file,
        lambda: AutoencoderKLWan(
            base_dim=base,
            z_dim=z_dim,
            dim_mult=[dim // base for dim in dims],
            num_res_blocks=res_blocks,
            temperal_downsample=[f"encoder.downsamples.{end}.time_conv.weight" in theirs for end in ends],
        ),
        renamed({by_stage(name, res_blocks + 1): tensor for name, tensor in theirs.items()}, VAE),
    )


def _required(where: Path, tensors: Mapping[str, Stored], name: str) -> Stored:
    """Return the tensor of this name. Raises `CheckpointError` about the path `where` if it is missing."""
    if name not in tensors:
        raise CheckpointError(f"{where}: expected a tensor {name}, found none")
    return tensors[name]


def _check_fit(file: Path, output: Stored, transformer: Component, embedder: str) -> None:
    """Raise `CheckpointError` unless the encoder's width is the input width of the transformer's `embedder`."""
    width = transformer.stored[f"condition_embedder.{embedder}.weight"].shape[1]
    expect(file, f"an encoder of width {width}", output.shape[-1], width)


def _numbers(tensors: Iterable[str], pattern: str) -> list[int]:
    """Return the numbers, ascending and each once, that the pattern's group matches in the names."""
    return sorted({int(match[1]) for name in tensors if (match := re.match(pattern, name))})


def _count(tensors: Iterable[str], pattern: str) -> int:
    """Return how many different numbers the pattern's group matches in the names."""
    return len(_numbers(tensors, pattern))
