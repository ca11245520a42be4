"""A checkpoint as Wan-Video/Wan2.1 publishes it, told in diffusers' and transformers' names. Knows no other layout.

Its `config.json` describes the transformer alone; what the other parts measure is read off their tensors. The names on
the left are those of upstream's modules (`wan/modules/{model,t5,vae,clip}.py`), `*` being a number.
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
from inference.wan.checkpoint.places import CONFIG_FILE
from inference.wan.checkpoint.relatives import WAN22_I2V, WANTED, in_original, in_tensors
from inference.wan.checkpoint.tensors import CheckpointError, Stored, read_pickle
from inference.wan.checkpoint.unused import not_used
from inference.wan.clip_pixels import WholePicture

TEXT_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
VAE_FILE = "Wan2.1_VAE.pth"
IMAGE_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
TOKENIZER_FOLDER = "google/umt5-xxl"

CLIP_HEADS = 16  # ViT-H/14's: the only thing about CLIP that its tensors do not show
QKV = ("q_proj", "k_proj", "v_proj")

TRANSFORMER = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "blocks.*.modulation": "blocks.*.scale_shift_table",
    "blocks.*.self_attn.q": "blocks.*.attn1.to_q",
    "blocks.*.self_attn.k": "blocks.*.attn1.to_k",
    "blocks.*.self_attn.v": "blocks.*.attn1.to_v",
    "blocks.*.self_attn.o": "blocks.*.attn1.to_out.0",
    "blocks.*.self_attn.norm_q": "blocks.*.attn1.norm_q",
    "blocks.*.self_attn.norm_k": "blocks.*.attn1.norm_k",
    "blocks.*.norm3": "blocks.*.norm2",  # upstream counts the norms as they were written, diffusers as they are called
    "blocks.*.cross_attn.q": "blocks.*.attn2.to_q",
    "blocks.*.cross_attn.k": "blocks.*.attn2.to_k",
    "blocks.*.cross_attn.v": "blocks.*.attn2.to_v",
    "blocks.*.cross_attn.o": "blocks.*.attn2.to_out.0",
    "blocks.*.cross_attn.norm_q": "blocks.*.attn2.norm_q",
    "blocks.*.cross_attn.norm_k": "blocks.*.attn2.norm_k",
    "blocks.*.cross_attn.k_img": "blocks.*.attn2.add_k_proj",
    "blocks.*.cross_attn.v_img": "blocks.*.attn2.add_v_proj",
    "blocks.*.cross_attn.norm_k_img": "blocks.*.attn2.norm_added_k",
    "blocks.*.ffn.0": "blocks.*.ffn.net.0.proj",
    "blocks.*.ffn.2": "blocks.*.ffn.net.2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}

TEXT_ENCODER = {
    "token_embedding": "shared",
    "blocks.*.norm1": "encoder.block.*.layer.0.layer_norm",
    "blocks.*.attn.q": "encoder.block.*.layer.0.SelfAttention.q",
    "blocks.*.attn.k": "encoder.block.*.layer.0.SelfAttention.k",
    "blocks.*.attn.v": "encoder.block.*.layer.0.SelfAttention.v",
    "blocks.*.attn.o": "encoder.block.*.layer.0.SelfAttention.o",
    "blocks.*.pos_embedding.embedding": "encoder.block.*.layer.0.SelfAttention.relative_attention_bias",
    "blocks.*.norm2": "encoder.block.*.layer.1.layer_norm",
    "blocks.*.ffn.gate.0": "encoder.block.*.layer.1.DenseReluDense.wi_0",
    "blocks.*.ffn.fc1": "encoder.block.*.layer.1.DenseReluDense.wi_1",
    "blocks.*.ffn.fc2": "encoder.block.*.layer.1.DenseReluDense.wo",
    "norm": "encoder.final_layer_norm",
}

RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}

VAE = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    **{f"{half}.conv1": f"{half}.conv_in" for half in ("encoder", "decoder")},
    **{f"{half}.head.0": f"{half}.norm_out" for half in ("encoder", "decoder")},
    **{f"{half}.head.2": f"{half}.conv_out" for half in ("encoder", "decoder")},
    **{
        f"{half}.middle.{2 * at}.{theirs}": f"{half}.mid_block.resnets.{at}.{ours}"
        for half in ("encoder", "decoder")
        for at in (0, 1)
        for theirs, ours in RESIDUAL.items()
    },
    **{
        f"{half}.middle.1.{layer}": f"{half}.mid_block.attentions.0.{layer}"
        for half in ("encoder", "decoder")
        for layer in ("norm", "to_qkv", "proj")
    },
    **{f"encoder.downsamples.*.{theirs}": f"encoder.down_blocks.*.{ours}" for theirs, ours in RESIDUAL.items()},
    **{f"encoder.downsamples.*.{layer}": f"encoder.down_blocks.*.{layer}" for layer in ("resample.1", "time_conv")},
}

IMAGE_ENCODER = {
    "patch_embedding": "embeddings.patch_embedding",
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "pre_norm": "pre_layrnorm",
    "post_norm": "post_layernorm",
    "transformer.*.norm1": "encoder.layers.*.layer_norm1",
    "transformer.*.norm2": "encoder.layers.*.layer_norm2",
    "transformer.*.attn.proj": "encoder.layers.*.self_attn.out_proj",
    "transformer.*.mlp.0": "encoder.layers.*.mlp.fc1",
    "transformer.*.mlp.2": "encoder.layers.*.mlp.fc2",
}


class _Config(Struct):
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
    """Raises `CheckpointError` unless the folder's own description is that of Wan2.1 image-to-video."""
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
    theirs = stored(folder)
    if (relative := in_tensors(theirs)) is not None:
        raise CheckpointError(f"{folder}: expected {WANTED}, found {relative}")
    text = _required(folder, theirs, "text_embedding.0.weight")
    if "img_emb.proj.1.weight" not in theirs:
        raise CheckpointError(f"{folder}: expected {WANTED}, found {WAN22_I2V} (no tensor img_emb.proj.1.weight)")
    image, tensors = theirs["img_emb.proj.1.weight"], _renamed(theirs, TRANSFORMER)
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
    tensors = _renamed(read_pickle(file), TEXT_ENCODER)
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
    """CLIP's eye, and the side of the pictures that it takes. The file holds its half for text too."""
    visual = {
        name.removeprefix("visual."): tensor for name, tensor in read_pickle(file).items() if name.startswith("visual.")
    }
    tensors = _split_qkv(_renamed(visual, IMAGE_ENCODER))
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


def _split_qkv(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Upstream keeps query, key and value in one tensor, and a leading one before its embeddings."""
    found: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)", name):
            rows = tensor.shape[0] // len(QKV)
            for at, projection in enumerate(QKV):
                ours = f"encoder.layers.{match[1]}.self_attn.{projection}.{match[2]}"
                found[ours] = tensor.rows(at * rows, (at + 1) * rows)
        elif name == "embeddings.class_embedding":
            found[name] = tensor.without_leading_one().without_leading_one()
        elif name == "embeddings.position_embedding.weight":
            found[name] = tensor.without_leading_one()
        else:
            found[name] = tensor
    return found


def _vae(file: Path) -> Component:
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
        _renamed({_by_stage(name, res_blocks + 1): tensor for name, tensor in theirs.items()}, VAE),
    )


def _by_stage(name: str, resnets: int) -> str:
    """The decoder's layers, which upstream counts through, by stage: so many resnets, then an upsampler."""
    match = re.fullmatch(r"decoder\.upsamples\.(\d+)\.(.*)\.(\w+)", name)
    if match is None:
        return name
    stage, at = divmod(int(match[1]), resnets + 1)
    layer = f"upsamplers.0.{match[2]}" if at == resnets else f"resnets.{at}.{RESIDUAL.get(match[2], match[2])}"
    return f"decoder.up_blocks.{stage}.{layer}.{match[3]}"


def _renamed(tensors: Mapping[str, Stored], table: Mapping[str, str]) -> dict[str, Stored]:
    """By our names; what the table does not know keeps its own, and is then found to be too much."""
    patterns = [
        (re.compile(re.escape(theirs).replace(r"\*", r"(\d+)") + r"(\.weight|\.bias|\.gamma|)"), ours)
        for theirs, ours in table.items()
    ]

    def rename(name: str) -> str:
        for pattern, ours in patterns:
            if match := pattern.fullmatch(name):
                return ours.replace("*", match[1]) + match[match.lastindex or 0]
        return name

    return {rename(name): tensor for name, tensor in tensors.items()}


def _required(where: Path, tensors: Mapping[str, Stored], name: str) -> Stored:
    if name not in tensors:
        raise CheckpointError(f"{where}: expected a tensor {name}, found none")
    return tensors[name]


def _check_fit(file: Path, output: Stored, transformer: Component, embedder: str) -> None:
    """An encoder must speak in the width that the transformer hears."""
    width = transformer.stored[f"condition_embedder.{embedder}.weight"].shape[1]
    expect(file, f"an encoder of width {width}", output.shape[-1], width)


def _numbers(tensors: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(match[1]) for name in tensors if (match := re.match(pattern, name))})


def _count(tensors: Iterable[str], pattern: str) -> int:
    return len(_numbers(tensors, pattern))
