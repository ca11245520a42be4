"""Chooses and checks what the transformer's blocks run on: attention backend, torch.compile, FP8 matrix products.

Called once, when a rank starts. Raises `KernelError` if the device cannot run what the settings ask for.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from contracts.job import parse_size
from contracts.process import log
from inference.wan.encode import TEXT_TOKENS
from inference.wan.fp8 import Fp8Linear
from inference.wan.load import Wan
from inference.wan.vae.codec import SPATIAL_STRIDE, TEMPORAL_STRIDE

NATIVE = "native"

BEST_FIRST = {
    "cuda": ("_native_cudnn", "flash", NATIVE),
    "npu": ("_native_npu", NATIVE),
}
"""Attention backends by device type, best first, by diffusers' names.

All of these work under Ulysses; others, such as `_flash_3`, do not."""

APPROXIMATE = "sage"
"""Part of the names of all attention backends that change pixels beyond rounding."""

PICTURE_TOKENS = 257  # Wan's CLIP makes as many; the number is odd, which some kernels refuse
VIDEO_TOKENS = 31 * 45 * 80  # tokens of 121 frames at 1280 × 720
QUERIES_COMPARED = 8
HEADS_TRIED = 1
ERROR_MAX = 0.05  # relative to the norm of the result; bf16 has an error of some 0.004
WARM_UP_FRAMES = 81  # a job's default


class KernelError(Exception):
    """Raised if this device cannot run what the settings ask for; the text names setting and device."""


def set_attention_backend(wan: Wan, asked: str | None) -> str:
    """Set the transformer's attention backend to `asked`, or to the best that works here; return its name.

    `native` leaves the backend as it is. Raises `KernelError` if `asked`, or without it none, works on this device.
    """
    head_dim: int = wan.transformer.config["attention_head_dim"]
    names = (asked,) if asked else BEST_FIRST.get(wan.device.type, (NATIVE,))
    usable = next((name for name in names if backend_works(name, wan.device, head_dim)), None)
    if usable is None:
        raise KernelError(f"ATTENTION_BACKEND: {wan.device.type} was expected to run {names[-1]!r}, but does not")
    if usable != NATIVE:
        wan.transformer.set_attention_backend(usable)
    return usable


def backend_works(name: str, device: torch.device, head_dim: int) -> bool:
    """Run the attention backend and return whether its results are right; an installed backend may fail or be wrong.

    Tried with the tokens of a picture, an odd number, and with those of the longest video. For the video a CPU computes
    a few queries only; other devices compute all, which takes a fraction of a second. False, with a log line, whatever
    the backend raises.
    """
    few = QUERIES_COMPARED
    try:
        right = _is_exact_enough(name, device, head_dim, few, PICTURE_TOKENS) and _is_exact_enough(
            name, device, head_dim, few if device.type == "cpu" else VIDEO_TOKENS, VIDEO_TOKENS
        )
    except Exception as error:  # noqa: BLE001  # a kernel may raise anything on a device that it does not support
        log.get().info("attention_refused", backend=name, error=type(error).__name__)
        return False
    if not right:
        log.get().info("attention_refused", backend=name, error="another result than torch's")
    return right


def _is_exact_enough(name: str, device: torch.device, head_dim: int, queries: int, keys: int) -> bool:
    """Return whether the backend agrees with fp32 matrix products, compared at the first and the last queries.

    Values grow along the tokens, so a kernel that leaves out distant tokens changes every result. If memory does not
    suffice, True for a video and False for a picture. Raises whatever the kernel raises.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    draws = torch.Generator().manual_seed(0)
    shapes = [(1, length, HEADS_TRIED, head_dim) for length in (queries, keys, keys)]
    query_BLHD, key_BLHD, value_BLHD = (torch.randn(shape, generator=draws).to(device, dtype) for shape in shapes)
    value_BLHD = value_BLHD + torch.linspace(0, 2, keys, device=device, dtype=dtype)[None, :, None, None]
    try:
        found_BLHD = dispatch_attention_fn(query_BLHD, key_BLHD, value_BLHD, backend=AttentionBackendName(name))
    except torch.OutOfMemoryError:  # a kernel that stores all products may still run shorter jobs
        return keys > PICTURE_TOKENS
    ends = [*range(QUERIES_COMPARED // 2), *range(-QUERIES_COMPARED // 2, 0)]
    query_BHLD, key_BHLD, value_BHLD = (
        each.transpose(1, 2).float() for each in (query_BLHD[:, ends], key_BLHD, value_BLHD)
    )
    weights_BHLL = (query_BHLD @ key_BHLD.mT / head_dim**0.5).softmax(-1)
    exact_BHLD = weights_BHLL @ value_BHLD
    error = (found_BLHD[:, ends].transpose(1, 2).float() - exact_BHLD).norm() / exact_BHLD.norm()
    return bool(error < ERROR_MAX)  # false for NaN


def approximations(attention: str, *, fp8_linear: bool) -> list[str]:
    """Return the names of the arithmetic that changes pixels beyond rounding; they become part of the model's id."""
    return [*(["fp8_linear"] if fp8_linear else []), *([attention] if APPROXIMATE in attention else [])]


def check_fp8(device: torch.device) -> None:
    """Raise `KernelError` if the device cannot multiply FP8 matrices. On CUDA, Ada and Hopper are the first to do."""
    linear = Fp8Linear(nn.Linear(32, 32, dtype=torch.bfloat16, device=device))
    try:
        linear(torch.zeros(32, 32, dtype=torch.bfloat16, device=device))
    except Exception as error:
        raise KernelError(f"FP8_LINEAR: {device.type} was expected to multiply 8-bit floats, but does not") from error


def check_compile(device: torch.device, backend: str | Callable[..., Any] = "inductor") -> None:
    """Raise `KernelError` if torch.compile fails here, for example for want of a compiler for the device or the CPU."""
    try:
        doubled = torch.compile(lambda numbers: numbers * 2 + 1, backend=backend)(torch.ones(4, device=device))
        assert doubled.eq(3).all()
    except Exception as error:
        raise KernelError(f"COMPILE_BLOCKS: {device.type} was expected to run compiled code, but does not") from error


def compile_blocks(transformer: WanTransformer3DModel, backend: str = "inductor") -> None:
    """Have the blocks compiled at their first pass. All share one compiled code; shapes that vary become dynamic."""
    for block in transformer.blocks:
        block.compile(backend=backend)


def warm_up(wan: Wan) -> None:
    """Run one pass for each size of the model, so that no job waits for the compiler. A collective of all ranks."""
    for size in wan.card.sizes:
        width, height = parse_size(size)
        with torch.inference_mode():
            wan.transformer(**_empty_inputs(wan, width, height))


def _empty_inputs(wan: Wan, width: int, height: int) -> dict[str, torch.Tensor]:
    """Return inputs of zeros for one pass of the transformer, with the shapes of a job of this size."""
    config, dtype = wan.transformer.config, wan.transformer.dtype
    frames = (WARM_UP_FRAMES - 1) // TEMPORAL_STRIDE + 1
    eye: Any = wan.image_encoder.config
    patches = (eye.image_size // eye.patch_size) ** 2
    latents = (1, config["in_channels"], frames, height // SPATIAL_STRIDE, width // SPATIAL_STRIDE)
    return {
        "hidden_states": torch.zeros(latents, dtype=dtype, device=wan.device),
        "timestep": torch.zeros(1, dtype=torch.int64, device=wan.device),
        "encoder_hidden_states": torch.zeros(1, TEXT_TOKENS, config["text_dim"], dtype=dtype, device=wan.device),
        "encoder_hidden_states_image": torch.zeros(1, patches + 1, config["image_dim"], dtype=dtype, device=wan.device),
    }
