"""Encodes prompt and picture for the transformer: UMT5 and CLIP embeddings. Called by `generate`, once a job."""

import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean
from PIL import Image
from transformers import CLIPVisionModel

from inference.wan.clip_pixels import Processor
from inference.wan.counting import Report, Work, counted, ignore_share
from inference.wan.load import Wan

# The transformer separates text from picture tokens by this count, unchecked: another length gives a wrong video.
TEXT_TOKENS = 512

# Wan2.1's negative prompt (`wan/configs/shared_config.py`), after the words that its image-to-video pipeline prepends.
DEFAULT_NEGATIVE_PROMPT = (
    "镜头晃动，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


def encode_text(wan: Wan, text: str, report: Report = ignore_share) -> torch.Tensor:
    """Return UMT5's embedding, 1 × 512 × D, in the transformer's dtype; from the prompt cache if it is there.

    Positions after the text's end are zero; tokens past 512 are cut off. A collective if the text encoder is sharded.
    `report` is called with the share that is done, at last with 1.
    """
    parts = wan.text_encoder.encoder.block if wan.device.type == "cpu" else [wan.text_encoder]
    with counted(map(Work, parts), 1, report):
        embedding_BLD = wan.prompt_cache.get(text, lambda text: _encode_text(wan, text))
    report(1.0)
    return embedding_BLD


def _encode_text(wan: Wan, text: str) -> torch.Tensor:
    """Return what `encode_text` returns, computed anew."""
    tokens = wan.tokenizer(
        prompt_clean(text),
        padding="max_length",
        max_length=TEXT_TOKENS,
        truncation=True,
        return_attention_mask=True,
        return_tensors="pt",
    ).to(wan.device)
    embedding_BLD = wan.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
    padding_BL1 = tokens.attention_mask.eq(0).unsqueeze(-1)
    return embedding_BLD.masked_fill(padding_BL1, 0).to(wan.transformer.dtype)


def encode_image(processor: Processor, encoder: CLIPVisionModel, image: Image.Image) -> torch.Tensor:
    """Return the output of CLIP's last layer but one, on the encoder's device: 1 × (patches + 1) × D."""
    pixels_BCHW = processor(images=image, return_tensors="pt").pixel_values
    return encoder(pixels_BCHW.to(encoder.device, encoder.dtype), output_hidden_states=True).hidden_states[-2]
