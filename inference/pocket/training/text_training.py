"""Trains the pocket UMT5 to classify the motion that a prompt asks for, before the transformer is trained.

Every token learns to represent the motion of the whole prompt, so that any token tells it to the transformer. Otherwise
the transformer would first have to find the few relevant words among 512 positions.
"""

from collections.abc import Sequence
from random import Random

import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from inference.pocket.data.motions import KINDS, MOTIONS, SPEEDS, Motion
from inference.pocket.data.prompts import DEFAULT_MOTION, prompt, prompt_without_motion
from inference.pocket.draws import device_of, draw_index
from inference.pocket.training.stage import StepLoss
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT

# Prompts that leave the motion open: the empty one, and Wan's negative prompt.
UNCONDITIONAL = ("", DEFAULT_NEGATIVE_PROMPT)
UNCONDITIONAL_SHARE = 0.06
NO_MOTION_SHARE = 0.06
CODES = len(KINDS) + 1


class MotionClassifier(nn.Module):
    """The text encoder with two linear heads, for kind and speed, at every token. The heads are dropped afterwards."""

    def __init__(self, encoder: UMT5EncoderModel) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.config.d_model
        self.kind = nn.Linear(width, CODES)
        self.speed = nn.Linear(width, len(SPEEDS))

    def forward(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores of the kinds and of the speeds at every token: B × L × classes each."""
        states_BLD = self.encoder(ids_BL, mask_BL).last_hidden_state
        return self.kind(states_BLD), self.speed(states_BLD)


def kind_class(motion: Motion | None) -> int:
    """Return the class of the motion's kind; the last class is no motion asked for."""
    return len(KINDS) if motion is None else KINDS.index(motion.kind)


def draw_prompt(rng: Random) -> tuple[str, Motion | None]:
    """Return a random prompt and its motion; None if the prompt leaves the motion open."""
    share = rng.random()
    if share < UNCONDITIONAL_SHARE:
        return rng.choice(UNCONDITIONAL), None
    if share < UNCONDITIONAL_SHARE + NO_MOTION_SHARE:
        return prompt_without_motion(rng), DEFAULT_MOTION
    motion = rng.choice(MOTIONS)
    return prompt(motion, rng), motion


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, B × L, as in `inference.wan.encode.encode_text`, but padded to the longest text only."""
    batch = tokenizer(
        list(map(prompt_clean, texts)), padding="longest", return_attention_mask=True, return_tensors="pt"
    )
    return batch.input_ids, batch.attention_mask


def text_loss(classifier: MotionClassifier, tokenizer: PreTrainedTokenizerBase, batch: int) -> StepLoss:
    """Return the loss: cross-entropy of the kind at every token, and of the speed at tokens of moving prompts.

    `batch` is the number of prompts a step.
    """

    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        """Return the loss of a random batch of prompts."""
        draw = Random(draw_index(2**31, rng))
        texts, motions = zip(*(draw_prompt(draw) for _ in range(batch)), strict=True)
        device = device_of(classifier)
        ids_BL, mask_BL = (each.to(device) for each in tokenize(tokenizer, texts))
        kinds_BLC, speeds_BLC = classifier(ids_BL, mask_BL)
        said = mask_BL.bool()
        kind_B = torch.tensor([kind_class(motion) for motion in motions], device=device)
        moves_B = torch.tensor([motion is not None and motion.kind != "still" for motion in motions], device=device)
        speeds = [SPEEDS.index(motion.speed if motion else "normal") for motion in motions]
        speed_B = torch.tensor(speeds, device=device)
        moving = said & moves_B[:, None]
        kind_BL, speed_BL = (code_B[:, None].expand(mask_BL.shape) for code_B in (kind_B, speed_B))
        return functional.cross_entropy(kinds_BLC[said], kind_BL[said]) + functional.cross_entropy(
            speeds_BLC[moving], speed_BL[moving]
        )

    return loss
