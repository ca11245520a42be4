"""The numbers of a Wan2.1 checkpoint that decide its memory, and the parameters that follow from them. Pure.

`memory` estimates with them what a rank holds. `WAN_14B` has the numbers of Wan2.1-I2V-14B; `model_config` reads those
of another model.
"""

from typing import Annotated

from msgspec import Meta, Struct

LATENT_CHANNELS = 16
INPUT_CHANNELS = 36
PATCH_NUMBERS = 1 * 2 * 2
TEXT_TOKENS = 512
KERNEL = 27
"""Numbers of a 3 × 3 × 3 convolution for each pair of channels."""
FREQUENCIES = 256

Width = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=1_000)]


class Weights(Struct, frozen=True):
    """Parameters by type: `large` have the model's large type, 2 bytes on an accelerator; `exact` are in fp32."""

    large: int = 0
    exact: int = 0

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.large + other.large, self.exact + other.exact)

    def __mul__(self, times: int) -> "Weights":
        return Weights(self.large * times, self.exact * times)

    def size(self, large_bytes: int) -> int:
        """Return the bytes of these parameters."""
        return self.large * large_bytes + 4 * self.exact


class ModelShape(Struct, frozen=True, kw_only=True):
    """The dimensions of a model's components, as its configuration files have them.

    Without a prefix they are the transformer's; `text_` is UMT5's encoder, `image_` CLIP's vision model.
    """

    layers: Count
    heads: Count
    head_dim: Width
    ffn_dim: Width
    text_vocabulary: Width
    text_layers: Count
    text_dim: Width
    text_heads: Count
    text_head_dim: Width
    text_ffn_dim: Width
    image_layers: Count
    image_dim: Width
    image_ffn_dim: Width
    image_side: Width
    image_patch: Width
    vae_dim: Width
    vae_dim_mult: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=16)]
    vae_res_blocks: Count

    @property
    def dim(self) -> int:
        """Return the width of the transformer."""
        return self.heads * self.head_dim

    @property
    def image_tokens(self) -> int:
        """Return the tokens of a picture in CLIP: one for each patch, and one for all."""
        return (self.image_side // self.image_patch) ** 2 + 1

    @property
    def block(self) -> Weights:
        """Return the parameters of one of the transformer's blocks. Source: `WanTransformerBlock` of diffusers."""
        dim, ffn = self.dim, self.ffn_dim
        attention = 4 * _linear(dim, dim) + 2 * dim
        added = 2 * _linear(dim, dim) + dim  # keys and values of the picture
        return Weights(2 * attention + added + _linear(dim, ffn) + _linear(ffn, dim), 8 * dim)

    @property
    def around_blocks(self) -> Weights:
        """Return the transformer's other parameters. Source: `WanTransformer3DModel` of diffusers, and `residual`."""
        dim, image = self.dim, self.image_dim
        text = _linear(self.text_dim, dim) + _linear(dim, dim)
        picture = _linear(image, image) + _linear(image, dim)
        time = _linear(FREQUENCIES, dim) + _linear(dim, dim) + _linear(dim, 6 * dim)
        head = _linear(dim, LATENT_CHANNELS * PATCH_NUMBERS) + 2 * dim
        return Weights(_linear(INPUT_CHANNELS * PATCH_NUMBERS, dim) + text + picture, time + head + 2 * (image + dim))

    @property
    def text_block(self) -> Weights:
        """Return the parameters of one of UMT5's blocks. Source: `UMT5Block` of transformers."""
        inner, buckets = self.text_heads * self.text_head_dim, 32
        return Weights(self.text_dim * (4 * inner + 3 * self.text_ffn_dim + 2) + buckets * self.text_heads)

    @property
    def text_embedding(self) -> Weights:
        """Return UMT5's parameters around its blocks, above all one row for each token of its vocabulary."""
        return Weights(self.text_dim * (self.text_vocabulary + 1))

    @property
    def image_encoder(self) -> Weights:
        """Return the parameters of CLIP's vision model. Source: `CLIPVisionModel` of transformers."""
        dim, ffn = self.image_dim, self.image_ffn_dim
        layer = 4 * _linear(dim, dim) + _linear(dim, ffn) + _linear(ffn, dim) + 4 * dim
        return Weights(0, self.image_layers * layer + dim * (3 * self.image_patch**2 + self.image_tokens + 5))

    @property
    def vae(self) -> Weights:
        """Return the parameters of the VAE. Source: `AutoencoderKLWan` of diffusers, which halves widths on the way up.

        Two of the stages change the number of frames as well; their convolutions over time have 3 numbers a pair.
        """
        widths = [self.vae_dim * times for times in self.vae_dim_mult]
        deepest, latent = widths[-1], LATENT_CHANNELS
        middle = 2 * _resnet(deepest, deepest) + 4 * _linear(deepest, deepest) + deepest
        ends = KERNEL * (3 * widths[0] + latent * deepest * 3 + 3 * widths[0]) + 2 * widths[0] + 2 * deepest
        total = 2 * middle + ends + 5 * latent * latent
        for before, width in zip([widths[0], *widths[:-1]], widths, strict=True):
            total += _resnet(before, width) + (self.vae_res_blocks - 1) * _resnet(width, width)
        for width in widths[:-1]:
            total += 9 * width * width
        for width in widths[1:-1]:
            total += 3 * width * width
        upwards = widths[::-1]
        for at, width in enumerate(upwards):
            first = width if at == 0 else upwards[at - 1] // 2
            total += _resnet(first, width) + self.vae_res_blocks * _resnet(width, width)
        for width in upwards[:-1]:
            total += 9 * width * width // 2
        for width in upwards[:-2]:
            total += 6 * width * width
        return Weights(0, total)


WAN_14B = ModelShape(
    layers=40,
    heads=40,
    head_dim=128,
    ffn_dim=13824,
    text_vocabulary=256384,
    text_layers=24,
    text_dim=4096,
    text_heads=64,
    text_head_dim=64,
    text_ffn_dim=10240,
    image_layers=32,
    image_dim=1280,
    image_ffn_dim=5120,
    image_side=224,
    image_patch=14,
    vae_dim=96,
    vae_dim_mult=(1, 2, 4, 4),
    vae_res_blocks=2,
)
"""Wan2.1-I2V-14B. Source: `wan/configs` of Wan-Video/Wan2.1."""


def _linear(inputs: int, outputs: int) -> int:
    """Return the parameters of a linear layer with a bias."""
    return (inputs + 1) * outputs


def _resnet(inputs: int, outputs: int) -> int:
    """Return the parameters of a residual block of the VAE: two convolutions, two norms, and a shortcut if needed."""
    shortcut = _linear(inputs, outputs) if inputs != outputs else 0
    return KERNEL * outputs * (inputs + outputs) + 3 * outputs + inputs + shortcut
