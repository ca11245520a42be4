"""Classifier-free guidance: predicts the noise of one step with the transformer. Called by `generate` at every step."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.distributed.device_mesh import DeviceMesh

from inference.wan.attention_cache import AttentionCache


@dataclass(frozen=True)
class Conditions:
    """The transformer's inputs beside the noisy latents. `negative_BLD` is None if the job has no guidance."""

    prompt_BLD: torch.Tensor
    negative_BLD: torch.Tensor | None
    image_BLD: torch.Tensor
    first_frame_BCTHW: torch.Tensor


def predict_noise(
    transformer: WanTransformer3DModel,
    latents_BCTHW: torch.Tensor,
    timestep: torch.Tensor,
    conditions: Conditions,
    scale: float,
    *,
    step: int,
    cache: AttentionCache,
    cfg: DeviceMesh | None = None,
) -> torch.Tensor:
    """Return the noise in the latents, in fp32: `uncond + scale · (cond − uncond)` (Ho and Salimans 2022).

    Without a negative prompt it is `cond`. `step`, counted from 0, is for the cache. A collective of the mesh axis
    `cfg`, if there is one: each of its two ranks predicts one branch and gathers both. Without, this rank predicts
    both.
    """
    inputs_BCTHW = torch.cat([latents_BCTHW, conditions.first_frame_BCTHW], dim=1).to(transformer.dtype)
    timestep_B = timestep.expand(latents_BCTHW.shape[0])

    def predict(branch: str, text_BLD: torch.Tensor) -> torch.Tensor:
        cache.begin_pass(branch, step)
        return transformer(
            hidden_states=inputs_BCTHW,
            timestep=timestep_B,
            encoder_hidden_states=text_BLD,
            encoder_hidden_states_image=conditions.image_BLD,
            return_dict=False,
        )[0]

    if conditions.negative_BLD is None:
        return predict("cond", conditions.prompt_BLD).float()
    branches = [("cond", conditions.prompt_BLD), ("uncond", conditions.negative_BLD)]
    if cfg is None:
        both = [predict(*branch) for branch in branches]
    else:
        both = _gather(predict(*branches[cfg.get_local_rank()]), cfg)
    # The difference of two similar predictions is small: bf16 would lose most of its digits.
    cond_BCTHW, uncond_BCTHW = (noise_BCTHW.float() for noise_BCTHW in both)
    return uncond_BCTHW + scale * (cond_BCTHW - uncond_BCTHW)


def _gather(noise_BCTHW: torch.Tensor, cfg: DeviceMesh) -> list[torch.Tensor]:
    """Return the predictions of all ranks of the axis, in rank order. A collective."""
    both = [torch.empty_like(noise_BCTHW, memory_format=torch.contiguous_format) for _ in range(cfg.size())]
    dist.all_gather(both, noise_BCTHW.contiguous(), group=cfg.get_group())
    return both
