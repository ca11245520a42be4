"""Lets the ranks of a mesh share one video: Ulysses on the transformer. Knows no job; `generate` does not know of it.

Each rank holds a run of the video's tokens; in self-attention they trade tokens for heads and back (DeepSpeed-Ulysses,
Jacobs et al. 2023). Splitting and trading are diffusers' hooks, put on by our own lines, because its own entry point
divides by the number of accelerators, which is 0 on a CPU.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from diffusers.hooks.context_parallel import apply_context_parallel
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from inference.wan.load import Wan
from inference.wan.mesh import make_mesh

TOKEN_LATENTS = 1 * 2 * 2  # Wan2.1's patch size, which `load` has checked

# diffusers' plan for Wan less two entries: the gather at `proj_out` is ours below, and the split of a timestep per
# token concerns Wan2.2 alone.
SPLITS = ("rope", "blocks.0")


def parallelize(wan: Wan, ulysses_size: int) -> None:
    """Have groups of `ulysses_size` ranks share each video from now on; at 1 nothing is touched.

    Every rank of the world calls it, once, after it has joined the process group. Raises ValueError where the size
    divides the heads or the world with a remainder.
    """
    if ulysses_size == 1:
        return
    if wan.heads % ulysses_size:
        raise ValueError(f"ulysses_size {ulysses_size} does not divide the {wan.heads} attention heads")
    world_size = dist.get_world_size()
    mesh = make_mesh(wan.device.type, world_size, ulysses_size)
    context = ContextParallelConfig(ulysses_degree=ulysses_size)
    config = ParallelConfig(context_parallel_config=context)
    config.setup(dist.get_rank(), world_size, wan.device, mesh=mesh)
    _apply(config, context, wan.transformer)
    _Shards(context, mesh["ulysses"].get_group()).watch(wan.transformer)


def _apply(config: ParallelConfig, context: ContextParallelConfig, transformer: WanTransformer3DModel) -> None:
    # diffusers has no public name for either; its own `enable_parallelism` does the same.
    plan: dict[str, Any] = {at: transformer._cp_plan[at] for at in SPLITS}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    apply_context_parallel(transformer, context, plan)
    processors: dict[str, Any] = transformer.attn_processors
    for processor in processors.values():
        processor._parallel_config = config  # noqa: SLF001 - those of cross-attention leave it unused


class _Shards:
    """How the tokens of the pass that is running lie on the ranks, and how they come together again.

    A token count with a remainder gives shards of unequal length. diffusers' `ulysses_anything` can trade those at the
    price of asking all ranks for their lengths at each attention, so it is switched on for such passes alone. But its
    gather at the end is an uneven `all_gather`, which gloo refuses: this is the one thing of diffusers' that is
    replaced, by an even one of padded shards. Nothing is added up across ranks, so the result stays the same bit for
    bit.
    """

    def __init__(self, context: ContextParallelConfig, group: dist.ProcessGroup) -> None:
        self._context, self._group = context, group
        self._lengths: list[int] = []

    def watch(self, transformer: WanTransformer3DModel) -> None:
        transformer.register_forward_pre_hook(self._begin, with_kwargs=True)
        transformer.proj_out.register_forward_hook(self._gather)

    def _begin(self, _module: nn.Module, _args: tuple[()], kwargs: Mapping[str, torch.Tensor]) -> None:
        ranks = dist.get_world_size(self._group)
        latents_BCTHW = kwargs["hidden_states"]
        tokens = latents_BCTHW[0, 0].numel() // TOKEN_LATENTS
        self._lengths = [(tokens + ranks - 1 - rank) // ranks for rank in range(ranks)]  # as tensor_split has them
        self._context.ulysses_anything = tokens % ranks != 0

    def _gather(self, _module: nn.Module, _args: tuple[torch.Tensor], shard_BLD: torch.Tensor) -> torch.Tensor:
        longest = self._lengths[0]
        padded_BLD = nn.functional.pad(shard_BLD, (0, 0, 0, longest - shard_BLD.shape[1])).contiguous()
        shards = [torch.empty_like(padded_BLD) for _ in self._lengths]
        dist.all_gather(shards, padded_BLD, group=self._group)
        return torch.cat([shard[:, :length] for shard, length in zip(shards, self._lengths, strict=True)], dim=1)
