"""One rank of `test_parallelize.py`: leaves its results in a folder.

Every plan of the cluster runs every job, one after the other in one process, and again: first with the weights at
hand, then with the weights kept apart.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from contracts.job import Job
from contracts.plan import Plan, degrees
from contracts.process.die_with_parent import die_with_parent
from inference.ranks import device
from inference.wan.generate import denoise, generate
from inference.wan.load import Wan, load
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.parallel.mesh import Layout, Meshes
from inference.wan.sharding import set_sharded
from inference.wan.snapshot import DenoisingSnapshot, Origin, decode_snapshot, digest, encode_conditions, encode_state
from inference.wan.vae.codec import SPATIAL_STRIDE
from tests.kit.tiny import Broken, break_off, calls, go_on, image, job, latents

CACHED = {"use_attentioncache": True, "start_step": 1, "attentioncache_interval": 3, "end_step": 5, "infer_steps": 7}
JOBS: dict[str, tuple[Job, tuple[int, int]]] = {
    "even": (job(), (64, 48)),
    "odd": (job(sample_solver="dpm++", infer_steps=3, seed=8), (48, 48)),
    "cached": (job(**CACHED), (48, 48)),
    "more frames": (job(num_frames=13, sample_shift=3.0, negative_prompt=""), (48, 32)),
    "unguided": (job(guidance_scale=1.0, sample_solver="euler"), (48, 48)),
}
"""Of 36, 27, 27, 24 and 27 tokens."""

BANDED = [(64, 48), (48, 112), (64, 16)]
"""Sizes of 6, 14 and 2 rows of latents."""


class Rank:
    """One rank of a cluster: runs jobs by plans and collects their results by name. Lives as long as the process."""

    def __init__(self, wan: Wan, world_size: int) -> None:
        self.wan, self.world_size = wan, world_size
        self.meshes = Meshes("cpu", world_size)
        self.results: dict[str, torch.Tensor] = {}
        self.slowest_change_s = 0.0

    def layout(self, height: int, **plan: Any) -> Layout:
        began = time.monotonic()
        wanted = Plan(**plan)
        set_sharded(self.wan, dit_sharded=wanted.dit_fsdp, t5_sharded=wanted.t5_fsdp)
        layout = self.meshes.layout(wanted, latent_rows=height // SPATIAL_STRIDE)
        self.slowest_change_s = max(self.slowest_change_s, time.monotonic() - began)
        return layout

    def run_every_plan(self, ending: str, **flags: bool) -> None:
        for name in names(self.world_size, ending):
            asked, size = JOBS[name]
            for cfg, ulysses in plans(self.world_size, self.wan.heads, asked):
                layout = self.layout(size[1], cfg_size=cfg, ulysses_size=ulysses, **flags)
                self.results[f"{cfg}x{ulysses} {name}{ending}"] = latents(self.wan, asked, image(*size), layout=layout)

    def run_in_bands(self) -> None:
        for size in BANDED:
            layout = self.layout(size[1], cfg_size=1, ulysses_size=1, vae_parallel=True)
            heights: list[int] = []
            watch = self.wan.vae.decoder.conv_out.register_forward_hook(lambda *seen: heights.append(seen[2].shape[3]))  # noqa: B023
            self.results[f"video {size}"] = generate(self.wan, job(), image(*size), go_on, layout)
            watch.remove()
            self.results[f"rows {size}"] = torch.tensor(heights[0])
            self.results[f"latents {size}"] = latents(self.wan, job(), image(*size), layout=layout)

    def break_jobs(self) -> None:
        """Leave one job between two steps, with cached outputs of attention; make another fail while it is decoded."""
        with_bands = self.layout(48, **self.fastest(), vae_parallel=True)
        with suppress(Broken):
            latents(self.wan, JOBS["cached"][0], image(48, 48), stop_after(2), with_bands)
        watch = self.wan.vae.decoder.up_blocks[1].register_forward_hook(break_off)
        with suppress(Broken):
            generate(self.wan, JOBS["even"][0], image(64, 48), go_on, with_bands)
        watch.remove()

    def fastest(self) -> dict[str, int]:
        cfg, ulysses = degrees(self.world_size, self.wan.heads)[0]
        return {"cfg_size": cfg, "ulysses_size": ulysses}

    def go_on_from(self, folder: Path) -> None:
        """Resume every job from the snapshot in `folder`, by every plan."""
        for name, (asked, size) in JOBS.items():
            left = left_in(folder, name)
            for cfg, ulysses in plans(self.world_size, self.wan.heads, asked):
                layout = self.layout(size[1], cfg_size=cfg, ulysses_size=ulysses)
                with torch.inference_mode():
                    ended = denoise(self.wan, asked, left.conditions, go_on, layout, snapshot=left)
                self.results[f"{cfg}x{ulysses} {name} resumed"] = ended

    def hooks(self) -> int:
        return hooks_of(self.wan.transformer) + hooks_of(self.wan.vae)

    def count(self) -> None:
        """Record this rank's passes, and its tokens per pass, in a job of four steps that all ranks share."""
        tokens: list[int] = []
        layout = self.layout(48, **self.fastest())
        watch = self.wan.transformer.blocks[0].register_forward_hook(lambda *seen: tokens.append(seen[2].shape[1]))
        passes = calls(self.wan.transformer, lambda: latents(self.wan, job(), image(64, 48), layout=layout))
        watch.remove()
        self.results["passes"], self.results["tokens"] = torch.tensor(passes), torch.tensor(tokens[0])


def leave_in(folder: Path, name: str, snapshot: DenoisingSnapshot) -> None:
    origin = Origin(name, "3f1c")
    conditions = encode_conditions(snapshot.conditions, origin)
    (folder / f"{name}.conditions").write_bytes(conditions)
    (folder / f"{name}.state").write_bytes(encode_state(snapshot, origin, digest(conditions)))


def left_in(folder: Path, name: str) -> DenoisingSnapshot:
    return decode_snapshot((folder / f"{name}.conditions").read_bytes(), (folder / f"{name}.state").read_bytes())


def names(ranks: int, ending: str) -> list[str]:
    """The jobs that are run; again, by four ranks, only those that are the hardest to share."""
    return list(JOBS) if not ending or ranks < 4 else ["odd", "cached"]


def plans(ranks: int, heads: int, asked: Job) -> list[tuple[int, int]]:
    """Return the plans; for four ranks, only those that use all ranks, and one in which two ranks repeat the work."""
    found = degrees(ranks, heads, guided=asked.guided)
    return [
        (cfg, ulysses) for cfg, ulysses in found if ranks < 4 or cfg * ulysses == ranks or (ulysses == 1 and cfg == 2)
    ]


def stop_after(last: int) -> Any:
    def boundary(_stage: str, step: int) -> None:
        if step == last:
            raise Broken

    return boundary


def hooks_of(model: nn.Module) -> int:
    """Count the diffusers hooks and replaced forwards below `model`."""
    count = 0
    for module in model.modules():
        registry: Any = getattr(module, "_diffusers_hook", None)
        count += len(registry.hooks) if registry is not None else "forward" in module.__dict__
        count += len(module._forward_hooks) + len(module._forward_pre_hooks)
    return count


def main(checkpoint: Path, folder: Path) -> None:
    die_with_parent()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with device.join_group(cpu):
        ranks = dist.get_world_size()
        rank = Rank(load(checkpoint, cpu, mesh=sharding_mesh("cpu", ranks)), ranks)
        rank.run_every_plan("")
        rank.run_in_bands()
        groups = len(dist.distributed_c10d._world.pg_map)
        hooks = rank.hooks()
        rank.break_jobs()
        rank.run_every_plan(" again", dit_fsdp=True, t5_fsdp=True)
        rank.count()
        rank.go_on_from(folder)
        rank.results["more groups"] = torch.tensor(len(dist.distributed_c10d._world.pg_map) - groups)
        rank.results["more hooks"] = torch.tensor(rank.hooks() - hooks)
        rank.results["slowest change"] = torch.tensor(rank.slowest_change_s)
        save_file({n: tensor.contiguous() for n, tensor in rank.results.items()}, folder / f"{dist.get_rank()}")
