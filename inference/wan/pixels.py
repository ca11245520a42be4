"""Converts between 8-bit pictures and the values in [-1, 1] that models take and return."""

import numpy as np
import torch
from PIL import Image


def pixel_values(image: Image.Image) -> torch.Tensor:
    """Return the image as fp32 values in [-1, 1]: 3 × height × width."""
    rgb_HWC = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(2 * rgb_HWC - 1).permute(2, 0, 1)


def rgb_bytes(picture_CHW: torch.Tensor) -> np.ndarray:
    """Return a picture in [-1, 1], on any device, as uint8: height × width × 3. Values outside are clamped."""
    rgb_CHW = picture_CHW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return rgb_CHW.permute(1, 2, 0).contiguous().cpu().numpy()
