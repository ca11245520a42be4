"""Memory of the VAE's activations, in bytes. Called by `memory`. Pure.

Source: `AutoencoderKLWan` of diffusers. It passes four frames at a time through each convolution, together with the
last two frames of the chunk before, which every convolution keeps. The most is held where the pictures have their full
size: the padded input of a convolution, an unpadded copy of it, and the tensors around. `inference.wan.vae.bands` makes
no such copy.
"""

from contracts.model_shape import LATENT_CHANNELS, ModelShape

FP32 = 4
CHUNK, KEPT = 4, 2
SPATIAL_STRIDE = 8
RGB = 3


def encoding(shape: ModelShape, width: int, latent_rows: int, num_frames: int, *, banded: bool) -> int:
    """Return what encoding a clip of this many latent rows needs, beside the weights."""
    rows = SPATIAL_STRIDE * latent_rows
    widths = [shape.vae_dim * times for times in shape.vae_dim_mult]
    deepest = len(widths) - 1
    kept = RGB * rows * width
    for level, channels in enumerate(widths):
        pixels = rows * width // 4**level
        inputs = widths[max(level - 1, 0)]
        convolutions = 2 * shape.vae_res_blocks - 1
        kept += pixels * (inputs + channels * convolutions)
        if level == deepest:
            kept += pixels * 5 * channels
        elif level > 0:
            kept += pixels * channels // 8  # one frame, for the convolution over time
    clip = RGB * num_frames * rows * width
    around = (2 * CHUNK + KEPT) * widths[0] * rows * width
    return FP32 * (KEPT * kept + clip + around + _convolved(widths[0], rows, width, banded=banded))


def decoding(shape: ModelShape, width: int, latent_rows: int, num_frames: int, *, banded: bool, whole_rows: int) -> int:
    """Return what decoding so many latent rows needs, beside the weights; in bands, rank 0 gathers `whole_rows`."""
    rows = SPATIAL_STRIDE * latent_rows
    widths = [shape.vae_dim * times for times in shape.vae_dim_mult]
    deepest = len(widths) - 1
    kept = widths[0] * rows * width
    for level, channels in enumerate(widths):
        pixels = rows * width // 4**level
        inputs = channels if level == deepest else widths[level + 1] // 2
        convolutions = 2 * shape.vae_res_blocks + 1
        kept += pixels * (inputs + channels * convolutions)
        if level == deepest:
            kept += pixels * (LATENT_CHANNELS + 4 * channels)
        if level > 1:
            kept += pixels * channels  # for the convolution over time
    frames = RGB * rows * width
    around = (3 * CHUNK + KEPT) * widths[0] * rows * width
    convolving = (
        KEPT * kept + around + _convolved(widths[0], rows, width, banded=banded) + frames * (num_frames - CHUNK)
    )
    video = RGB * num_frames * width * SPATIAL_STRIDE * whole_rows
    gathering = 2 * frames * num_frames + (video if banded else 0)
    return FP32 * max(convolving, gathering)


def _convolved(channels: int, rows: int, width: int, *, banded: bool) -> int:
    """Return the numbers in a convolution's padded input and what lies beside it: in bands its output, else a copy."""
    padded = (CHUNK + KEPT) * (rows + 2) * (width + 2)
    beside = (CHUNK if banded else CHUNK + KEPT) * rows * width
    return channels * (padded + beside)
