"""One guided prediction of the noise: classifier-free guidance over the transformer. Knows no solver and no step."""

from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel


@dataclass(frozen=True)
class Conditioning:
    """All that a job tells the transformer beside the noise. `negative_BLD` is None where nothing guides."""

    prompt_BLD: torch.Tensor
    negative_BLD: torch.Tensor | None
    image_BLD: torch.Tensor
    first_frame_BCTHW: torch.Tensor


def is_guided(scale: float) -> bool:
    """At exactly 1 the guided prediction is the conditional one: the second pass would be for nothing."""
    return scale != 1.0


def predict_noise(
    transformer: WanTransformer3DModel,
    latents_BCTHW: torch.Tensor,
    timestep: torch.Tensor,
    given: Conditioning,
    scale: float,
) -> torch.Tensor:
    """The noise in the latents, in fp32: `uncond + scale · (cond − uncond)` (Ho and Salimans 2022)."""
    inputs_BCTHW = torch.cat([latents_BCTHW, given.first_frame_BCTHW], dim=1).to(transformer.dtype)
    timestep_B = timestep.expand(latents_BCTHW.shape[0])

    def predict(branch: str, text_BLD: torch.Tensor) -> torch.Tensor:
        # What a hook of the transformer keeps from step to step, it keeps for each branch by itself.
        with transformer.cache_context(branch):
            noise_BCTHW = transformer(
                hidden_states=inputs_BCTHW,
                timestep=timestep_B,
                encoder_hidden_states=text_BLD,
                encoder_hidden_states_image=given.image_BLD,
                return_dict=False,
            )[0]
        # The difference of two near predictions is small: bf16 would lose most of it.
        return noise_BCTHW.float()

    cond_BCTHW = predict("cond", given.prompt_BLD)
    if given.negative_BLD is None:
        return cond_BCTHW
    uncond_BCTHW = predict("uncond", given.negative_BLD)
    return uncond_BCTHW + scale * (cond_BCTHW - uncond_BCTHW)
