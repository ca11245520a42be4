"""Wan2.1's own tensor names, translated into those of diffusers and transformers; called by `original_layout`.

The keys of the tables are the names of upstream's modules (`wan/modules/{model,t5,vae,clip}.py` of Wan-Video/Wan2.1),
`*` being a number; the values are the names of diffusers and transformers.
"""

import re
from collections.abc import Mapping

from inference.wan.checkpoint.tensors import Stored

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


def by_stage(name: str, resnets: int) -> str:
    """Rename a layer of the VAE's decoder from upstream's running number to a stage of `resnets` and an upsampler.

    Other names are returned unchanged.
    """
    match = re.fullmatch(r"decoder\.upsamples\.(\d+)\.(.*)\.(\w+)", name)
    if match is None:
        return name
    stage, at = divmod(int(match[1]), resnets + 1)
    layer = f"upsamplers.0.{match[2]}" if at == resnets else f"resnets.{at}.{RESIDUAL.get(match[2], match[2])}"
    return f"decoder.up_blocks.{stage}.{layer}.{match[3]}"


def renamed(tensors: Mapping[str, Stored], table: Mapping[str, str]) -> dict[str, Stored]:
    """Return the tensors under the names that `table` gives; other names stay, and `check_component` rejects them.

    A `*` of the table stands for a number, and a key also for its weight, bias and gamma.
    """
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


def split_qkv(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return the tensors with CLIP's fused query, key and value split; nothing is read.

    Its embeddings lose their leading dimensions of 1.
    """
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
