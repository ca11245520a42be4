"""Counts the floating-point operations of a pass through Wan's transformer, and measures how many a device does."""

import statistics
from collections.abc import Mapping
from typing import Any

import torch

from ops.bench.clock import seconds

PATCH_SIDE = 2
TERA = 1e12
MATRIX_ROUNDS = 20
MATRIX_SIDE = {"cpu": 512}
MATRIX_SIDE_OF_A_CARD = 8192


def of_a_pass(config: Mapping[str, Any], latents: torch.Size, text_tokens: int, picture_tokens: int) -> int:
    """Return the operations of one pass; a multiply-add counts as two. `latents` is their shape, B × C × T × H × W.

    `config` is the transformer's, as in diffusers. Norms, activations and softmax are left out, and so is work done
    once for all tokens. The batch is not counted.
    """
    tokens = latents[-3] * latents[-2] * latents[-1] // PATCH_SIDE**2
    dim = config["num_attention_heads"] * config["attention_head_dim"]
    context = text_tokens + picture_tokens
    square = 2 * dim * dim
    block = (
        6 * tokens * square  # query, key, value and output of self-attention, query and output of cross-attention
        + 2 * context * square  # keys and values of cross-attention
        + of_attention(dim, tokens, tokens + context)  # self and cross
        + 2 * 2 * dim * config["ffn_dim"] * tokens
    )
    patch = PATCH_SIDE**2 * (config["in_channels"] + config["out_channels"])
    return config["num_layers"] * block + 2 * dim * patch * tokens


def of_attention(dim: int, queries: int, keys: int) -> int:
    """Return the operations of attention over all heads, which are `dim` wide together: two products of matrices."""
    return 4 * dim * queries * keys


def matrix_tflops(device: torch.device) -> float:
    """Return the TFLOP/s of a product of large square matrices: of float32 on a CPU, else of bfloat16."""
    side = MATRIX_SIDE.get(device.type, MATRIX_SIDE_OF_A_CARD)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    took = [seconds(lambda: left @ right, device) for _ in range(MATRIX_ROUNDS)]
    return 2 * side**3 / statistics.median(took) / TERA
