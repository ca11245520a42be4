"""Reading of a model's shape from the configuration of its components. Called by clusters and by `just fit`. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.model_shape import ModelShape


def shape_of(
    transformer: Mapping[str, Any], text: Mapping[str, Any], image: Mapping[str, Any], vae: Mapping[str, Any]
) -> ModelShape:
    """Return the shape in the `config.json` of each component.

    Raises `KeyError` for a number that is missing, and `msgspec.ValidationError` for a value that is none.
    """
    numbers = {
        "layers": transformer["num_layers"],
        "heads": transformer["num_attention_heads"],
        "head_dim": transformer["attention_head_dim"],
        "ffn_dim": transformer["ffn_dim"],
        "text_vocabulary": text["vocab_size"],
        "text_layers": text["num_layers"],
        "text_dim": text["d_model"],
        "text_heads": text["num_heads"],
        "text_head_dim": text["d_kv"],
        "text_ffn_dim": text["d_ff"],
        "image_layers": image["num_hidden_layers"],
        "image_dim": image["hidden_size"],
        "image_ffn_dim": image["intermediate_size"],
        "image_side": image["image_size"],
        "image_patch": image["patch_size"],
        "vae_dim": vae["base_dim"],
        "vae_dim_mult": vae["dim_mult"],
        "vae_res_blocks": vae["num_res_blocks"],
    }
    return msgspec.convert(numbers, ModelShape)
