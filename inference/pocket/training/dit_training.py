"""Flow-matching loss of the pocket transformer (DiT) on cached latents; `train` and `finish` use it.

Source of the objective: Lipman et al. 2022; of the density of the noise levels: Esser et al. 2024, section 3.1.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor, WanTransformer3DModel
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from inference.pocket.data.latent_dataset import LatentDataset
from inference.pocket.data.motions import MOTIONS
from inference.pocket.data.prompts import DEFAULT_MOTION, prompt, prompt_without_motion
from inference.pocket.draws import draw_index, normal
from inference.pocket.training.precision import autocast
from inference.pocket.training.stage import StepLoss
from inference.pocket.training.text_training import UNCONDITIONAL, tokenize
from inference.wan.encode import TEXT_TOKENS
from inference.wan.solvers import TRAIN_TIMESTEPS
from inference.wan.vae.codec import with_mask_channels

SEED = 11
# Prompts are replaced by an unconditional one this often, as classifier-free guidance needs.
DROPPED_SHARE = 0.1
NO_MOTION_SHARE = 0.3
SHIFT = 3.0


class PromptEmbeddings:
    """Embeddings of random prompts for every motion, made once: the text encoder is frozen. Lives for one stage."""

    def __init__(self, encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, count: int) -> None:
        rng = Random(SEED)
        self._by_motion = [
            _embed(encoder, tokenizer, [prompt(motion, rng) for _ in range(count)]) for motion in MOTIONS
        ]
        self._without_motion = _embed(encoder, tokenizer, [prompt_without_motion(rng) for _ in range(count)])
        self._unconditional = _embed(encoder, tokenizer, UNCONDITIONAL)

    def draw(self, motion: int, rng: torch.Generator) -> torch.Tensor:
        """Return a random embedding, tokens × width, for `MOTIONS[motion]`; sometimes an unconditional one."""
        share = torch.rand((), generator=rng).item()
        if share < DROPPED_SHARE:
            texts = self._unconditional
        elif MOTIONS[motion] == DEFAULT_MOTION and share > 1 - NO_MOTION_SHARE:
            texts = self._without_motion
        else:
            texts = self._by_motion[motion]
        return texts[draw_index(len(texts), rng)]


def _embed(encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[torch.Tensor]:
    """Return the embedding of each text, tokens × width, without its padding and without gradients."""
    ids_BL, mask_BL = (each.to(encoder.device) for each in tokenize(tokenizer, texts))
    with torch.no_grad():
        embedded_BLD = encoder(ids_BL, mask_BL).last_hidden_state
    return [text_LD[: int(count)] for text_LD, count in zip(embedded_BLD, mask_BL.sum(dim=1), strict=True)]


def pad_texts(texts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the texts, padded to the longest and one zero, and the bias of attention to their tokens.

    The texts are tokens × width, the results B × L × D and B × L, the latter on the CPU. At inference a text of n
    tokens is followed by 512 - n zeros with equal keys. One zero with the bias log(512 - n) is equivalent and saves
    most of the cross-attention.
    """
    longest = max(len(text) for text in texts) + 1
    texts_BLD = torch.stack([functional.pad(text, (0, 0, 0, longest - len(text))) for text in texts])
    bias_BL = torch.zeros(len(texts), longest)
    for row, text in zip(bias_BL, texts, strict=True):
        row[len(text)] = math.log(TEXT_TOKENS - len(text))
        row[len(text) + 1 :] = -torch.inf
    return texts_BLD, bias_BL


class ShortTextProcessor(WanAttnProcessor):
    """Cross-attention to an image and to texts from `pad_texts`. Set `bias_BL` before every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.bias_BL = torch.zeros(1, 1)

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        *_: object,
    ) -> torch.Tensor:
        """Return the output of cross-attention, B × L × D, to the image's tokens and the texts' behind them."""
        assert encoder_hidden_states is not None
        assert attn.add_k_proj is not None
        assert attn.add_v_proj is not None
        image_BLD, text_BLD = encoder_hidden_states.tensor_split([-self.bias_BL.shape[1]], dim=1)
        query, key, value, image_key, image_value = (
            part.unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for part in (
                attn.norm_q(attn.to_q(hidden_states)),
                attn.norm_k(attn.to_k(text_BLD)),
                attn.to_v(text_BLD),
                attn.norm_added_k(attn.add_k_proj(image_BLD)),
                attn.add_v_proj(image_BLD),
            )
        )
        bias = self.bias_BL[:, None, None].to(query.dtype)
        heard = functional.scaled_dot_product_attention(query, key, value, bias)
        seen = functional.scaled_dot_product_attention(query, image_key, image_value)
        return attn.to_out[0]((heard + seen).transpose(1, 2).flatten(2, 3))


def flow_loss(
    transformer: WanTransformer3DModel,
    latents: LatentDataset,
    prompts: PromptEmbeddings,
    batch: int,
    *,
    first_frame_weight: float,
) -> StepLoss:
    """Return the function that computes a step's flow-matching loss on clips and prompts that it draws anew.

    Sets the transformer's cross-attention processors for short texts, until `restore_attention_processors`. Transformer
    and latents are on one device; `batch` is the number of clips a step. The first frame is given: its error is small
    beside the others' and would be learnt last, so it is weighted by `first_frame_weight`.
    """
    short = ShortTextProcessor()
    _set_cross_attention(transformer, short)

    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        """Return the loss of a random batch."""
        drawn = latents.draw(batch, rng)
        texts_BLD, bias_BL = pad_texts([prompts.draw(motion, rng) for motion in drawn.motions])
        device = transformer.device
        short.bias_BL = bias_BL.to(device)
        clean_BCTHW = drawn.clips_BCTHW
        noise_BCTHW = normal(clean_BCTHW.shape, rng, device)
        sigma_B = _sigmas(batch, rng).to(device)
        sigma_B1111 = sigma_B[:, None, None, None, None]
        noisy_BCTHW = torch.lerp(clean_BCTHW, noise_BCTHW, sigma_B1111)
        with autocast(transformer):
            flow_BCTHW = transformer(
                hidden_states=torch.cat([noisy_BCTHW, with_mask_channels(drawn.first_BCTHW)], dim=1),
                timestep=sigma_B * TRAIN_TIMESTEPS,
                encoder_hidden_states=texts_BLD,
                encoder_hidden_states_image=drawn.images_BLD,
                return_dict=False,
            )[0]
        error_BCTHW = (flow_BCTHW.float() - (noise_BCTHW - clean_BCTHW)).square()
        return error_BCTHW.mean() + (first_frame_weight - 1) * error_BCTHW[:, :, :1].sum() / error_BCTHW.numel()

    return loss


def restore_attention_processors(transformer: WanTransformer3DModel) -> None:
    """Set diffusers' own cross-attention processors again, after training."""
    _set_cross_attention(transformer, WanAttnProcessor())


def _set_cross_attention(transformer: WanTransformer3DModel, processor: WanAttnProcessor) -> None:
    blocks: list[Any] = [*transformer.blocks]
    for block in blocks:
        block.attn2.set_processor(processor)


def _sigmas(count: int, rng: torch.Generator) -> torch.Tensor:
    """Return `count` random noise levels between 0 and 1, logit-normal and then shifted towards noise.

    The shift is smaller than a job's default, because the last steps of denoising decide the sharpness.
    """
    even_B = torch.randn(count, generator=rng).sigmoid()
    return SHIFT * even_B / (1 + (SHIFT - 1) * even_B)
