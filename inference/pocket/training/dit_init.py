"""Initialises the pocket transformer before its training; called by `train`."""

import math
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformer3DModel
from torch import nn

LOCAL_HEADS_SHARE = 0.5
LOCAL_BIAS = 3.0
LOCAL_GAIN = 1.6


def initialise_transformer(transformer: WanTransformer3DModel) -> None:
    """Initialise the transformer in place: all gates open, modulation by time off, attention to words above padding.

    Draws from torch's global generator. Of 512 text tokens only about ten are words; under uniform attention they would
    have a fiftieth of the weight. Queries therefore get a common direction and the key of padding its opposite. Half of
    the self-attention heads begin by attending to their own place, from which a rotation of the query learns an offset.
    """
    with torch.no_grad():
        embedder = transformer.condition_embedder
        for linear in (embedder.time_proj, transformer.proj_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (embedder.text_embedder.linear_1, embedder.text_embedder.linear_2):
            nn.init.zeros_(linear.bias)
            nn.init.orthogonal_(linear.weight, 2.0)
        blocks: list[Any] = [*transformer.blocks]
        quiet = 1 / math.sqrt(2 * len(blocks))
        for block in blocks:
            block.scale_shift_table.zero_()
            block.scale_shift_table[:, (2, 5)] = 1  # the gates
            for out in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
                out.weight *= quiet
                nn.init.zeros_(out.bias)
            _open_cross_attention(block.attn2)
            _localise_heads(block.attn1)


def _open_cross_attention(attention: WanAttention) -> None:
    """Bias queries and the key of padding in opposite directions, so that words get most of the attention.

    In place, at random; call it with gradients off.
    """
    towards = torch.randn(attention.inner_dim).sign()
    attention.to_q.bias.copy_(1.5 * towards)
    attention.to_k.bias.copy_(-0.05 * towards)


def _localise_heads(attention: WanAttention) -> None:
    """Bias some heads of self-attention towards their own place, in place; call it with gradients off.

    The fast pairs of the rotary embedding distinguish rows and columns; they lie after the pairs of time.
    """
    head_dim = attention.inner_dim // attention.heads
    plane = 2 * (head_dim // 6)
    fast = [head_dim - 2 * plane, head_dim - 2 * plane + 2, head_dim - plane, head_dim - plane + 2]
    local = max(1, int(LOCAL_HEADS_SHARE * attention.heads))
    for linear, norm in ((attention.to_q, attention.norm_q), (attention.to_k, attention.norm_k)):
        bias_HD = linear.bias.view(attention.heads, head_dim)
        bias_HD[:local, fast] = LOCAL_BIAS
        norm.weight.view(attention.heads, head_dim)[:local] = LOCAL_GAIN
