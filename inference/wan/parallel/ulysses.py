"""Ulysses sequence parallelism: the ranks of a mesh share the tokens of a video. Called by `generate` for each job.

Each rank holds a run of the video's tokens; in self-attention the ranks exchange tokens for heads and back
(DeepSpeed-Ulysses, Jacobs et al. 2023). diffusers' hooks split and exchange. They are installed here, not by
diffusers' own entry point, which divides by the number of accelerators (0 on a CPU) and cannot be undone.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.hooks import RemovableHandle

TOKEN_LATENTS = 1 * 2 * 2  # Wan2.1's patch size, which `load` has checked

# diffusers' plan for Wan without two entries: `_Shards` does the gather at `proj_out`, and the split of a timestep per
# token concerns Wan2.2 alone.
SPLITS = ("rope", "blocks.0")


@contextmanager
def shared_tokens(transformer: WanTransformer3DModel, mesh: DeviceMesh | None) -> Generator[None]:
    """Share every pass within the block among the ranks along the mesh's axis `ulysses`; None changes nothing.

    Every pass is then a collective of that axis. The axis must divide the number of attention heads. However the block
    ends, the transformer is as before.
    """
    if mesh is None:
        yield
        return
    axis = mesh["ulysses"]
    context = ContextParallelConfig(ulysses_degree=axis.size())
    config = ParallelConfig(context_parallel_config=context)
    config.setup(mesh.get_rank(), mesh.size(), transformer.device, mesh=mesh)
    # Neither `_cp_plan` nor `_parallel_config` has a public name; diffusers' own `enable_parallelism` uses both.
    splits: dict[str, Any] = {at: transformer._cp_plan[at] for at in SPLITS}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    processors: list[Any] = list(transformer.attn_processors.values())
    apply_context_parallel(transformer, context, splits)
    for processor in processors:
        processor._parallel_config = config  # noqa: SLF001 - processors of cross-attention do not use it
    handles = _Shards(context, axis.get_group()).watch(transformer)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for processor in processors:
            del processor._parallel_config  # noqa: SLF001 - the class attribute, None, shows again
        remove_context_parallel(transformer, splits)


class _Shards:
    """Hooks that split and gather the tokens of a pass over the ranks. Lives for one job.

    A token count that the ranks do not divide gives shards of unequal length. diffusers' `ulysses_anything` can
    exchange such shards, but asks all ranks for their lengths at each attention, so it is on for such passes only. Its
    final gather is an uneven `all_gather`, which gloo refuses: it is replaced by an even `all_gather` of padded shards.
    No value is summed across ranks, so the result is the same bit for bit.
    """

    def __init__(self, context: ContextParallelConfig, group: dist.ProcessGroup) -> None:
        self._context, self._group = context, group
        self._lengths: list[int] = []

    def watch(self, transformer: WanTransformer3DModel) -> tuple[RemovableHandle, RemovableHandle]:
        """Install the hooks; the caller removes them by the handles."""
        return (
            transformer.register_forward_pre_hook(self._begin, with_kwargs=True),
            transformer.proj_out.register_forward_hook(self._gather),
        )

    def _begin(self, _module: nn.Module, _args: tuple[()], kwargs: Mapping[str, torch.Tensor]) -> None:
        """Set the lengths of the shards for the pass that begins, by the shape of its latents; a forward pre-hook."""
        ranks = dist.get_world_size(self._group)
        latents_BCTHW = kwargs["hidden_states"]
        tokens = latents_BCTHW[0, 0].numel() // TOKEN_LATENTS
        self._lengths = [(tokens + ranks - 1 - rank) // ranks for rank in range(ranks)]  # as in tensor_split
        self._context.ulysses_anything = tokens % ranks != 0

    def _gather(self, _module: nn.Module, _args: tuple[torch.Tensor], shard_BLD: torch.Tensor) -> torch.Tensor:
        """Return the outputs of all ranks in the order of their tokens, B × L × D; a forward hook. A collective."""
        longest = self._lengths[0]
        padded_BLD = nn.functional.pad(shard_BLD, (0, 0, 0, longest - shard_BLD.shape[1])).contiguous()
        shards = [torch.empty_like(padded_BLD) for _ in self._lengths]
        dist.all_gather(shards, padded_BLD, group=self._group)
        return torch.cat([shard[:, :length] for shard, length in zip(shards, self._lengths, strict=True)], dim=1)
