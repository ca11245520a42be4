"""A transformer in half precision whose residual stream, modulation and head are in fp32, as upstream runs it.

diffusers' blocks round the residual stream after each of their additions, and the head rounds the prediction; guidance
then multiplies what was lost in the difference of two near predictions. Upstream has fp32 there and half precision in
the matrix products alone (`wan/modules/model.py` of Wan-Video/Wan2.1). Knows no job and no rank.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

IN_FP32 = ("time_proj", "proj_out")
"""Modules whose parameters are loaded in fp32 for this, beside those that diffusers keeps so."""


def large_type(device_type: str) -> torch.dtype:
    """The type of the two large models: on a CPU half precision is slow, and fp32 is comparable bit for bit."""
    return torch.float32 if device_type == "cpu" else torch.bfloat16


def wan_dtype(name: str, large_dtype: torch.dtype) -> torch.dtype:
    """The type of a parameter: some small parts of Wan are in fp32 whatever the rest is."""
    # diffusers says which, under no public name.
    kept: list[str] = WanTransformer3DModel._keep_in_fp32_modules  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportAssignmentType]
    return torch.float32 if {*kept, *IN_FP32} & set(name.split(".")) else large_dtype


def keep_residuals_in_fp32(transformer: WanTransformer3DModel, dtype: torch.dtype) -> None:
    """Run the matrix products of the blocks in `dtype` on a residual stream in fp32.

    Every addition of diffusers' code takes the type of its operands, so casts at the edges are enough: into fp32 behind
    the patch embedding and before the time embedding, into `dtype` before attention, feed-forward and text embedding.
    Submodules keep their names, so that what splits, gathers, compiles or replaces them does not see a difference.
    """
    to_dtype = partial(_cast_first, dtype)
    transformer.patch_embedding.register_forward_hook(_output_in_fp32)
    transformer.condition_embedder.register_forward_pre_hook(_text_in_fp32)
    transformer.condition_embedder.text_embedder.register_forward_pre_hook(to_dtype)
    blocks: list[Any] = list(transformer.blocks)
    for block in blocks:
        for part in (block.attn1, block.attn2, block.ffn):
            part.register_forward_pre_hook(to_dtype)


def _cast_first(dtype: torch.dtype, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    values, *rest = given
    return (values.to(dtype), *rest)


def _output_in_fp32(_module: nn.Module, _given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output.float()


def _text_in_fp32(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    # The time embedding takes the type of the text's.
    timestep, text_BLD, *rest = given
    return (timestep, text_BLD.float(), *rest)
