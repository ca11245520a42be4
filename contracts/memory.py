"""Estimate of the memory that a rank needs for a job, phase by phase, before any of it is taken. Pure arithmetic.

`cluster` refuses by it what no live cluster can hold, clusters choose their own plan by it, and `just fit` prints it.
The formulas count tensors in the code that runs: diffusers' and transformers' classes, FSDP2, and `inference.wan`.
`ops.bench.phases` measures the same code on tensors without storage, and a test holds both together within 5 %.
Left out are the driver's context, buffers of communication and of kernels, and fragmentation: `RESERVE_BYTES`.
"""

import math
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from contracts.bounds import Frames, Ranks, Side
from contracts.model_shape import INPUT_CHANNELS, LATENT_CHANNELS, PATCH_NUMBERS, TEXT_TOKENS, ModelShape
from contracts.plan import Plan
from contracts.vae_memory import decoding, encoding

Phase = Literal["weights", "text", "encode", "denoise", "decode"]
PHASES: tuple[Phase, ...] = ("weights", "text", "encode", "denoise", "decode")

RESERVE_BYTES = 2_000_000_000
"""Memory of a card beside the estimate: context of the driver, buffers of NCCL or HCCL and of cuDNN. By experience."""
FP32, INT64 = 4, 8
ESTIMATES_REMEMBERED = 4096
SPATIAL_STRIDE, TEMPORAL_STRIDE = 8, 4


class Work(Struct, frozen=True, kw_only=True):
    """A video to make, with all that decides its memory."""

    width: Side
    height: Side
    num_frames: Frames
    guided: bool = True
    cached: bool = False

    @property
    def latent_frames(self) -> int:
        """Return the frames of the latents."""
        return (self.num_frames - 1) // TEMPORAL_STRIDE + 1

    @property
    def latent_rows(self) -> int:
        """Return the rows of the latents."""
        return self.height // SPATIAL_STRIDE

    @property
    def latent_pixels(self) -> int:
        """Return the pixels of the latents over all frames."""
        return self.latent_frames * self.latent_rows * (self.width // SPATIAL_STRIDE)

    @property
    def tokens(self) -> int:
        """Return the tokens of the video in the transformer."""
        return self.latent_pixels // PATCH_NUMBERS


class Holding(Struct, frozen=True, kw_only=True):
    """The settings of a cluster that decide what its ranks hold. `large_bytes` is 2 for bf16 and 4 for fp32.

    With `fp8_linear` the transformer's blocks have one byte for each of their parameters.
    """

    ranks: Ranks
    fp8_linear: bool = False
    text_offloaded: bool = False
    picture_models_offloaded: bool = False
    large_bytes: Annotated[int, Meta(ge=1, le=4)] = 2


class Peaks(Struct, frozen=True, kw_only=True):
    """The most that one rank holds in each phase of a job, in bytes; `weights` while the weights are gathered."""

    weights: int
    text: int
    encode: int
    denoise: int
    decode: int

    @property
    def worst(self) -> Phase:
        """Return the phase that needs most."""
        return max(PHASES, key=lambda phase: getattr(self, phase))

    @property
    def bytes(self) -> int:
        """Return the bytes of the worst phase."""
        return getattr(self, self.worst)


@lru_cache(maxsize=ESTIMATES_REMEMBERED)
def estimate(shape: ModelShape, work: Work, plan: Plan, holding: Holding) -> Peaks:
    """Return the peaks of rank 0, which holds the most: the largest share of every split, and the whole video."""
    large, held = holding.large_bytes, _Held(shape, plan, holding)
    texts = (2 if work.guided else 1) * TEXT_TOKENS * shape.text_dim * large
    given = texts + shape.image_tokens * shape.image_dim * large + 20 * work.latent_pixels * FP32
    bands = _bands(plan, holding.ranks, work.latent_rows)
    rows = math.ceil(work.latent_rows / bands)
    latents = LATENT_CHANNELS * work.latent_pixels * FP32
    encoded = encoding(shape, work.width, rows, work.num_frames, banded=bands > 1)
    decoded = decoding(shape, work.width, rows, work.num_frames, banded=bands > 1, whole_rows=work.latent_rows)
    return Peaks(
        weights=held.gathering,
        text=held.large + held.small + _text(shape, plan, holding),
        encode=held.large + held.with_vae + texts + encoded,
        denoise=held.large + held.small + given + latents + _step(shape, work, plan, holding),
        decode=held.large + held.with_vae + given + latents + decoded,
    )


class _Held:
    """The weights that a rank holds through a job."""

    def __init__(self, shape: ModelShape, plan: Plan, holding: Holding) -> None:
        ranks, large = holding.ranks, holding.large_bytes
        whole = shape.layers * _block(shape, holding) + shape.around_blocks.size(large)
        text = (shape.text_block * shape.text_layers + shape.text_embedding).size(large)
        dit_sharded, text_sharded = plan.dit_fsdp and ranks > 1, plan.t5_fsdp and ranks > 1
        dit = whole // ranks if dit_sharded else whole
        text_rows = 0 if holding.text_offloaded else text // ranks
        text_held = 0 if holding.text_offloaded else text_rows if text_sharded else text
        clip, vae = shape.image_encoder.size(large), shape.vae.size(large)
        self.small = 0 if holding.picture_models_offloaded else clip + vae
        """The bytes of CLIP and VAE while neither is used."""
        self.with_vae = vae if holding.picture_models_offloaded else clip + vae
        self.large = dit + text_held
        """The bytes of the transformer and the text encoder."""
        self.gathering = self.large + self.small
        if not dit_sharded and ranks > 1:
            block = _block(shape, holding)
            self.gathering = max(self.gathering, dit + text_rows + self.small + block + block // ranks)
        if not (text_sharded or holding.text_offloaded) and ranks > 1:
            block, embedding = shape.text_block.size(large), 2 * shape.text_embedding.size(large)
            self.gathering = max(
                self.gathering + block + block // ranks,
                dit + self.small + text_rows + embedding,
            )


def _block(shape: ModelShape, holding: Holding) -> int:
    """Return the bytes of one of the transformer's blocks."""
    return shape.block.size(1 if holding.fp8_linear else holding.large_bytes)


def _text(shape: ModelShape, plan: Plan, holding: Holding) -> int:
    """Return what encoding a text needs. Source: `UMT5Attention` of transformers, which holds its scores three times.

    Of a small model the integers weigh more by which it finds the bias of each pair of tokens. Sharded, FSDP2 gathers
    the embedding first, and each block while it still holds the buffer of what came before.
    """
    large, length = holding.large_bytes, TEXT_TOKENS
    inner = shape.text_heads * shape.text_head_dim
    scores = length * large * (3 * shape.text_heads * length + 3 * inner + 6 * shape.text_dim)
    active = max(scores, 7 * INT64 * length * length)
    block, embedding = shape.text_block.size(large), shape.text_embedding.size(large)
    if holding.text_offloaded and holding.ranks == 1:
        return max(embedding, block) + active
    if holding.ranks == 1 or not (plan.t5_fsdp or holding.text_offloaded):
        return active
    return max(2 * embedding + 2 * block, embedding + 2 * block + active)


def _step(shape: ModelShape, work: Work, plan: Plan, holding: Holding) -> int:
    """Return what a step needs beside weights and conditions: a block's activations, its gathered weights, the cache.

    Source: `WanTransformerBlock` of diffusers with the residual stream in fp32 (`inference.wan.residual`); DeepSpeed
    Ulysses holds queries, keys and values before and after the exchange.
    """
    large, dim, ffn = holding.large_bytes, shape.dim, shape.ffn_dim
    whole, share = work.tokens, math.ceil(work.tokens / plan.ulysses_size)
    exchanged = 3 if plan.ulysses_size > 1 else 0
    attention = share * dim * (FP32 + large * (4 + 2 * exchanged))
    feed_forward = share * (dim * (2 * FP32 + 2 * large) + large * ffn)
    adding = share * dim * (4 * FP32 + 2 * large)
    context = (TEXT_TOKENS + shape.image_tokens) * dim * large
    rotary = 2 * whole * shape.head_dim * FP32
    inputs = INPUT_CHANNELS * work.latent_pixels * large
    stream = whole * dim * FP32
    embedding, passing = 2 * stream, stream + max(attention, feed_forward, adding)
    if plan.dit_fsdp and holding.ranks > 1:
        around, block = shape.around_blocks.size(large), _block(shape, holding)
        embedding, passing = embedding + 2 * around, passing + around + 2 * block
    cache = _cache(shape, work, plan, share * dim * large)
    return max(embedding, passing) + context + rotary + inputs + cache


def _cache(shape: ModelShape, work: Work, plan: Plan, output: int) -> int:
    """Return the bytes of the stored outputs of every block's attention, for each branch that a rank computes."""
    branches = 2 if work.guided and plan.cfg_size == 1 else 1
    return branches * shape.layers * output if work.cached else 0


def _bands(plan: Plan, ranks: int, latent_rows: int) -> int:
    """Return among how many ranks the VAE's rows are split, as `inference.wan.parallel.mesh` splits them."""
    most = min(latent_rows, ranks) if plan.vae_parallel else 1
    return next(bands for bands in range(most, 0, -1) if ranks % bands == 0)
