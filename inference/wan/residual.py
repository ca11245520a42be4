"""Mixed precision: a half-precision transformer with residual stream, modulation and head in fp32, as upstream has it.

diffusers' blocks round the residual stream after each addition, and the head rounds the prediction; guidance then
amplifies the rounding error in the difference of two similar predictions. Upstream uses half precision in the matrix
products alone (`wan/modules/model.py` of Wan-Video/Wan2.1). Called by `load`.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

IN_FP32 = ("time_proj", "proj_out")
"""Modules whose parameters are loaded in fp32, beside those that diffusers keeps in fp32."""


def large_type(device_type: str) -> torch.dtype:
    """Return the dtype of transformer and text encoder: fp32 on a CPU, where half precision is slow; else bf16.

    In fp32 results can also be compared bit for bit.
    """
    return torch.float32 if device_type == "cpu" else torch.bfloat16


def wan_dtype(name: str, large_dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the transformer's parameter `name`: fp32 for some small modules, else `large_dtype`."""
    # diffusers lists those modules, but not under a public name.
    kept: list[str] = WanTransformer3DModel._keep_in_fp32_modules  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportAssignmentType]
    return torch.float32 if {*kept, *IN_FP32} & set(name.split(".")) else large_dtype


def keep_residuals_in_fp32(transformer: WanTransformer3DModel, dtype: torch.dtype) -> None:
    """Run the matrix products of the blocks in `dtype` on a residual stream in fp32, for good.

    Every addition in diffusers' code has the dtype of its operands, so hooks that cast are enough: to fp32 after the
    patch embedding and before the time embedding, to `dtype` before attention, feed-forward and text embedding. The
    submodules keep their names, so FSDP, Ulysses, torch.compile and the attention cache find them unchanged. Only
    inputs are cast: the weights have their dtypes already.
    """
    to_dtype = partial(_cast_first, dtype)
    transformer.patch_embedding.register_forward_hook(_output_in_fp32)
    transformer.condition_embedder.register_forward_pre_hook(_text_in_fp32)
    transformer.condition_embedder.text_embedder.register_forward_pre_hook(to_dtype)
    blocks: list[Any] = list(transformer.blocks)
    for block in blocks:
        for part in (block.attn1, block.attn2, block.ffn):
            part.register_forward_pre_hook(to_dtype)


def _cast_first(dtype: torch.dtype, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a module with the first one cast to `dtype`; a forward pre-hook."""
    values, *rest = args
    return (values.to(dtype), *rest)


def _output_in_fp32(_module: nn.Module, _args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Return the output of a module in fp32; a forward hook."""
    return output.float()


def _text_in_fp32(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of the condition embedder with the text in fp32; a forward pre-hook."""
    # The time embedding is cast to the dtype of the text.
    timestep, text_BLD, *rest = args
    return (timestep, text_BLD.float(), *rest)
