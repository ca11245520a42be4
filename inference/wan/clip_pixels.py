"""A picture as CLIP's pixels, in the two ways in which Wan2.1 is published. Knows no weights.

`clip_processor` is diffusers': it resizes the shorter edge to CLIP's side, with antialiasing, and crops the centre.
`WholePicture` is Wan2.1's own: it squashes the whole picture into CLIP's square.
"""

from dataclasses import dataclass

import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from transformers import BatchFeature

# The variant by name: transformers picks the other, whose pixels differ a little, wherever torchvision is installed.
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from inference.wan.pixels import values


@dataclass(frozen=True)
class WholePicture:
    """Squashes pictures to `side` × `side`: bicubic with a = -0.75, no antialiasing, no crop; then CLIP's own norm.

    Called like a processor of transformers. Source: `CLIPModel.visual` in `wan/modules/clip.py` of Wan-Video/Wan2.1.
    """

    side: int

    def __call__(self, images: Image.Image, return_tensors: str = "pt") -> BatchFeature:
        squashed_BCHW = F.interpolate(values(images)[None], (self.side, self.side), mode="bicubic", align_corners=False)
        mean, std = (torch.tensor(channels).view(3, 1, 1) for channels in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        return BatchFeature({"pixel_values": (squashed_BCHW * 0.5 + 0.5 - mean) / std}, tensor_type=return_tensors)


Processor = CLIPImageProcessorPil | WholePicture
"""What a checkpoint's layout has CLIP see."""


def clip_processor(side: int) -> CLIPImageProcessorPil:
    """For an eye that takes pictures of this side; the rest is CLIP's own."""
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
