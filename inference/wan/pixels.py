"""Between pictures of bytes and the values in [-1, 1] that models take and give. Knows no model."""

import numpy as np
import torch
from PIL import Image


def values(image: Image.Image) -> torch.Tensor:
    """3 × height × width in [-1, 1]."""
    rgb_HWC = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(2 * rgb_HWC - 1).permute(2, 0, 1)


def rgb(picture_CHW: torch.Tensor) -> np.ndarray:
    """Height × width × 3 in uint8 of such values on any device; what is outside of [-1, 1] is cut off."""
    rgb_CHW = picture_CHW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return rgb_CHW.permute(1, 2, 0).contiguous().cpu().numpy()
