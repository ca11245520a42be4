"""Image processors for CLIP: turn a picture into CLIP's pixel values, in the two ways in which Wan2.1 is published.

`clip_processor` is diffusers' way: resize the shorter edge to CLIP's side, with antialiasing, and crop the centre.
`WholePicture` is Wan2.1's own way: squash the whole picture into CLIP's square. The checkpoint's layout decides which
of the two is used; `encode` calls it.
"""

from dataclasses import dataclass

import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from transformers import BatchFeature

# Pillow's variant, by name: if torchvision is installed, transformers would choose torchvision's, whose pixels differ a
# little.
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from inference.wan.pixels import pixel_values


@dataclass(frozen=True)
class WholePicture:
    """Squashes pictures to `side` × `side`: bicubic with a = -0.75, no antialiasing, no crop; then CLIP's own norm.

    Called like a processor of transformers. Source: `CLIPModel.visual` in `wan/modules/clip.py` of Wan-Video/Wan2.1.
    """

    side: int

    def __call__(self, images: Image.Image, return_tensors: str = "pt") -> BatchFeature:
        """Return the picture's `pixel_values`: 1 × 3 × side × side in fp32."""
        squashed_BCHW = F.interpolate(
            pixel_values(images)[None], (self.side, self.side), mode="bicubic", align_corners=False
        )
        mean, std = (torch.tensor(channels).view(3, 1, 1) for channels in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        return BatchFeature({"pixel_values": (squashed_BCHW * 0.5 + 0.5 - mean) / std}, tensor_type=return_tensors)


Processor = CLIPImageProcessorPil | WholePicture
"""Either image processor; a checkpoint's layout chooses."""


def clip_processor(side: int) -> CLIPImageProcessorPil:
    """Return diffusers' processor for pictures of `side` × `side`; mean, deviation and filter are CLIP's own."""
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
