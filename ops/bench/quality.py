"""Measures what each way to save time or memory costs in quality: `python -m ops.bench.quality [FOLDER]`.

Every variant makes the same videos as the exact run: fp32, every attention computed, one rank. PSNR and SSIM say how
near the variant comes. The figures mean something only with trained weights. As torchrun's ranks the module measures
the plans that share a job, and prints rows as JSON.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
from PIL import Image, ImageOps

from contracts.job import Job, parse_size
from contracts.plan import Plan
from contracts.process.die_with_parent import die_with_parent
from inference.pocket import POCKET_FOLDER
from inference.ranks import device
from inference.wan.attention_cache import cache_rule_for
from inference.wan.checkpoint.model_card import read_card
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from inference.wan.parallel.mesh import ALONE, Layout, Meshes
from inference.wan.vae.codec import SPATIAL_STRIDE
from ops.bench.child import json_lines
from ops.bench.report.likeness import Likeness, QualityRow, likeness, table
from ops.bench.report.quality_plot import plot
from ops.bench.turns import say
from ops.local.sample_image import landscape

RESULTS = Path(__file__).parent / "results"
PROMPTS = ("the camera pans left", "rotate clockwise")
STEPS = 40
JOB = Job(prompt=PROMPTS[0], seed=1, num_frames=25, infer_steps=STEPS)
TILE_PX, TILE_STRIDE_PX = 128, 96
RANKS = 2
# After this time the remaining variants are left out; `child` limits the ranks.
ALONE_S_MAX = 2 * 3600.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """A way to save: fields of the job, a function that opens the model in another form, or a plan for several ranks.

    `steps` is the number of steps of the exact run to compare with.
    """

    name: str
    job: dict[str, Any] = field(default_factory=dict[str, Any])
    steps: int = STEPS
    open: Callable[[Path], Wan] | None = None
    plan: Plan | None = None


def cache(start: int, interval: int, end: int, steps: int = STEPS) -> Variant:
    """Return the variant with the attention cache by this rule."""
    rule = {"start_step": start, "attentioncache_interval": interval, "end_step": end}
    return Variant(f"cache {start}/{interval}/{end}", {"use_attentioncache": True, **rule}, steps)


def tiled(folder: Path) -> Wan:
    """Load the model in float32 with diffusers' tiled VAE, which decodes overlapping squares to save memory."""
    wan = load(folder, CPU)
    wan.vae.enable_tiling(TILE_PX, TILE_PX, TILE_STRIDE_PX, TILE_STRIDE_PX)
    return wan


ALONE_VARIANTS = (
    Variant("bf16", open=lambda folder: load(folder, CPU, dtype=torch.bfloat16)),
    Variant("fp8_linear, bf16", open=lambda folder: load(folder, CPU, dtype=torch.bfloat16, fp8_linear=True)),
    Variant("VAE in tiles", open=tiled),
    *(Variant(f"{steps} steps", {"infer_steps": steps}) for steps in (30, 20)),
    *(Variant(f"solver {solver}", {"sample_solver": solver}) for solver in ("dpm++", "euler")),
    cache(12, 4, 37),
    *(cache(12, interval, 37) for interval in (2, 3, 8)),
    *(cache(start, 4, 37) for start in (4, 8, 20)),
    *(cache(12, 4, end) for end in (24, 30)),
    cache(12, 4, 37, steps=30),
    cache(9, 4, 27, steps=30),
    cache(9, 2, 27, steps=30),
)
SHARED_VARIANTS = (
    Variant(f"{RANKS} ranks, vae_parallel", plan=Plan(cfg_size=1, ulysses_size=1, vae_parallel=True)),
    Variant(f"{RANKS} ranks, ulysses", plan=Plan(cfg_size=1, ulysses_size=RANKS)),
    Variant(f"{RANKS} ranks, cfg", plan=Plan(cfg_size=RANKS, ulysses_size=1)),
)


def measure(
    folder: Path,
    image: Image.Image,
    job: Job,
    variants: Sequence[Variant],
    prompts: Sequence[str],
    *,
    meshes: Meshes | None = None,
) -> Iterator[QualityRow]:
    """Yield a row for each variant, over one video for each prompt.

    Consecutive variants with the same `steps` share an exact run. Variants with a plan need `meshes`, and then this is
    a collective: every rank calls it. Nothing is timed: `just bench-engine` does that.
    """
    plain = load(folder, CPU)
    for steps, of_these_steps in groupby(variants, key=lambda variant: variant.steps):
        jobs = [msgspec.structs.replace(job, prompt=prompt, infer_steps=steps) for prompt in prompts]
        exact = [_video(plain, each, image) for each in jobs]
        say(f"exact runs of {steps} steps are made")
        for variant in of_these_steps:
            layout, wan = _layout(variant, meshes, image), variant.open(folder) if variant.open else plain
            altered = [msgspec.structs.replace(each, **variant.job) for each in jobs]
            videos: list[Likeness] = []
            for each, video in zip(altered, exact, strict=True):
                videos.append(likeness(_video(wan, each, image, layout), video))
            say(f"{variant.name}: {videos[-1].psnr_db:.1f} dB")
            yield QualityRow(variant.name, steps, attention_share(altered[0]) * altered[0].infer_steps / steps, videos)


def attention_share(job: Job) -> float:
    """Return the share of the steps whose self-attention is computed under the job's cache rule; 1 without a cache."""
    rule = cache_rule_for(job)
    return 1 if rule is None else sum(not rule.reuses(step) for step in range(job.infer_steps)) / job.infer_steps


def _layout(variant: Variant, meshes: Meshes | None, image: Image.Image) -> Layout:
    """Return the layout of the variant's plan, `ALONE` without a plan.

    With one this is a collective, and needs `meshes`.
    """
    if variant.plan is None:
        return ALONE
    assert meshes is not None
    return meshes.layout(variant.plan, latent_rows=image.height // SPATIAL_STRIDE)


def _video(wan: Wan, job: Job, image: Image.Image, layout: Layout = ALONE) -> torch.Tensor:
    """Return the job's decoded video, 3 × frames × height × width in [-1, 1]."""
    return generate(wan, job, image, lambda _stage, _step: None, layout)


def main(arguments: list[str]) -> None:
    """Measure every variant, and write the rows as JSON, table and plot into `RESULTS`; print the table.

    As one of torchrun's ranks measure only the variants with a plan. Variants are left out after `ALONE_S_MAX`; ends
    the process if the ranks fail.
    """
    folder = Path(arguments[0]) if arguments else POCKET_FOLDER
    image = ImageOps.fit(landscape(), parse_size(read_card(folder).default_size))
    if "RANK" in os.environ:
        _as_a_rank(folder, image)
        return
    rows: list[QualityRow] = []
    end = time.monotonic() + ALONE_S_MAX
    for row in measure(folder, image, JOB, ALONE_VARIANTS, PROMPTS):
        rows.append(row)
        if time.monotonic() > end:
            say(f"no more time: {len(rows)} of {len(ALONE_VARIANTS)} variants")
            break
    shared = json_lines("ops.bench.quality", str(folder), threads=1, ranks=RANKS)
    rows += [msgspec.json.decode(line, type=QualityRow) for line in shared]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quality.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")
    (RESULTS / "quality.md").write_text(table(rows))
    plot(rows).save(RESULTS / "quality.png")
    print(table(rows))


def _as_a_rank(folder: Path, image: Image.Image) -> None:
    """Measure `SHARED_VARIANTS` with the first prompt as one of torchrun's ranks; rank 0 prints each row as JSON.

    A collective: every rank calls it. From then on the process computes in one thread, and is killed with its parent.
    """
    die_with_parent()
    torch.set_num_threads(1)
    with device.join_group(CPU):
        meshes = Meshes(CPU.type, dist.get_world_size())
        for row in measure(folder, image, JOB, SHARED_VARIANTS, PROMPTS[:1], meshes=meshes):
            if dist.get_rank() == 0:
                sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
