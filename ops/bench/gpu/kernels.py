"""Races the attention kernels at the shapes of Wan2.1-14B: `python -m ops.bench.gpu.kernels card|dry`.

Each kernel is set against the peak of the card, and checked as the product checks it at a start. A kernel that fails is
a fact with the reason.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from contracts.memory import Work
from contracts.model_shape import WAN_14B
from inference.ranks import device
from inference.wan.kernels import BEST_FIRST, NATIVE, backend_works
from ops.bench import flops
from ops.bench.clock import seconds
from ops.bench.gpu.finding import Fact, reason, write
from ops.bench.gpu.peaks import peak_of
from ops.bench.report.row import Row, Series
from ops.bench.turns import by_turns

PART = "kernels"
GROUPS = (
    ("_native_cudnn", "_native_flash", "_native_efficient", NATIVE),
    ("flash", "_flash_3"),
    ("_native_math",),
)
"""Attention backends by diffusers' names: cuDNN's and torch's own, FlashAttention 2 and 3, and one that stores all.

Each group is raced by turns and written before the next: a kernel that breaks the device costs only what comes later.
"""
OF_PACKAGES = {"flash": "flash_attn", "_flash_3": "flash_attn_interface"}
"""The modules of packages that are not needed otherwise, by the backend that is from them."""
SIZES = {"480p": Work(width=832, height=480, num_frames=81), "720p": Work(width=1280, height=720, num_frames=81)}
DRY_SIZES = {"tiny": Work(width=64, height=48, num_frames=5)}
ROUNDS = 5


def main(mode: str) -> None:
    """Write the rows and facts of every size; `dry` takes a tiny one."""
    here = device.choose(0)
    card = torch.cuda.get_device_name(here) if here.type == "cuda" else ""
    peak = peak_of(card)
    product = flops.matrix_tflops(here)
    top, peak_tflops = ("a product of matrices", product) if peak is None else ("peak", peak.bf16_tflops)
    if peak is not None:
        over, under = Series("bf16", [product]), Series("peak", [peak.bf16_tflops])
        write(Row(part=PART, what="a product of matrices", unit="TFLOP/s", over=over, under=under))
    works = {name: backend_works(name, here, WAN_14B.head_dim) for name in BEST_FIRST.get(here.type, (NATIVE,))}
    for name, right in works.items():
        write(Fact(part=PART, what=f"{name} at a start of the product", found="taken" if right else "refused"))
    chosen = next((name for name, right in works.items() if right), "none")
    write(Fact(part=PART, what="chosen by the product", found=chosen, good=chosen != "none"))
    sizes = DRY_SIZES if mode == "dry" else SIZES
    for kernels in GROUPS:
        for name, work in sizes.items():
            _race(f"{name}, {work.tokens} tokens", kernels, work.tokens, here, Series(top, [peak_tflops] * ROUNDS))


def _race(size: str, kernels: Sequence[str], tokens: int, here: torch.device, top: Series) -> None:
    """Write a row for each of the kernels that runs at so many tokens, and a fact for each that does not."""
    dtype = torch.float32 if here.type == "cpu" else torch.bfloat16
    query, key, value = (
        torch.randn(1, tokens, WAN_14B.heads, WAN_14B.head_dim, device=here, dtype=dtype) for _ in range(3)
    )
    sides: dict[str, Callable[[], float]] = {}
    for name in kernels:
        if name in OF_PACKAGES and find_spec(OF_PACKAGES[name]) is None:
            write(Fact(part=PART, what=f"{size}: {name}", found=f"{OF_PACKAGES[name]} is not installed"))
            continue
        attend = _attention(name, query, key, value)
        try:
            seconds(attend, here)  # also what a first run costs alone
        except Exception as error:  # noqa: BLE001  # a kernel may raise anything on a card that it does not know
            write(Fact(part=PART, what=f"{size}: {name}", found=reason(error)))
            continue
        sides[name] = lambda attend=attend: seconds(attend, here)
    if sides:
        _write_rows(size, by_turns(sides, ROUNDS), flops.of_attention(WAN_14B.dim, tokens, tokens), top)


def _attention(name: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function that runs one attention, batch × tokens × heads × width, by this backend."""
    backend = AttentionBackendName(name)
    return lambda: dispatch_attention_fn(query, key, value, backend=backend)


def _write_rows(size: str, took_s: Mapping[str, list[float]], operations: int, top: Series) -> None:
    """Write a row for each kernel: the operations a second that it reached, against the top."""
    for name, samples in took_s.items():
        reached = Series(name, [operations / took / flops.TERA for took in samples])
        write(Row(part=PART, what=size, unit="TFLOP/s", over=reached, under=top))


if __name__ == "__main__":
    main(sys.argv[1])
