"""Tries process groups on one card: `python -m ops.bench.gpu.ranks card|dry`, which starts itself as torchrun's ranks.

One rank with the product's backends, FSDP2 on a group of one, two ranks on one card by nccl and by gloo, and ranks
that are forked beside CUDA. Each try is a process of its own with a time limit; one that fails is a fact.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from contracts.job import Job
from contracts.plan import Plan
from contracts.process.die_with_parent import die_with_parent
from inference.ranks import device
from inference.wan.generate import generate
from inference.wan.load import Wan
from inference.wan.parallel.fsdp import shard, sharding_mesh
from inference.wan.parallel.mesh import ALONE, Layout, Meshes
from inference.wan.sharding import set_sharded
from inference.wan.vae.codec import SPATIAL_STRIDE
from ops.bench.gpu.finding import Fact, reason, write
from ops.bench.gpu.part import DRY_PATIENCE, Outcome, Part, run
from ops.bench.picture import picture
from ops.bench.weights import SHAPES, drawn

PART = "ranks"
TRIES = {"own": 1, "twice": 2, "gloo": 2}
"""The tries, with the number of ranks of each."""
MAY_FAIL = ("twice",)
"""nccl is known to refuse two ranks on one card: whether this one does is asked, and nothing is expected."""
TRY_S = 45.0
SIDE = 256
SIZE = (64, 48)
JOB = Job(prompt="a small boat", seed=1, num_frames=9, infer_steps=3, guidance_scale=5.0)
PLANS = {
    "cfg": Plan(cfg_size=2, ulysses_size=1),
    "ulysses": Plan(cfg_size=1, ulysses_size=2),
    "ulysses, dit_fsdp": Plan(cfg_size=1, ulysses_size=2, dit_fsdp=True),
    "vae_parallel": Plan(cfg_size=1, ulysses_size=1, vae_parallel=True),
}
VIDEO_APART_MAX = 0.05
"""The most by which a shared video may differ, in values from -1 to 1: bf16 rounds other sums otherwise."""


def main(mode: str) -> None:
    """Run every try beside the others, since most of each is imports, and write its facts."""
    limit_s = TRY_S * (DRY_PATIENCE if mode == "dry" else 1)
    commands: dict[str, tuple[str, ...]] = {"fork": ("-m", "ops.bench.gpu.fork")}
    for name, ranks in TRIES.items():
        torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}")
        commands[name] = (*torchrun, "-m", "ops.bench.gpu.ranks", name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ThreadPoolExecutor() as beside:
        parts = [Part(name, command, limit_s) for name, command in commands.items()]
        for outcome in beside.map(partial(_try, folder=Path(folder)), parts):
            for fact in outcome.facts:
                write(fact)
            if outcome.failure:
                good = None if outcome.part in MAY_FAIL else False
                write(Fact(part=PART, what=f"try {outcome.part}", found=outcome.failure, good=good))


def _try(part: Part, *, folder: Path) -> Outcome:
    """Return the outcome of one try, in a process of its own."""
    return run(part, folder, {}, within_s=part.limit_s)


def as_a_rank(name: str) -> None:
    """Run one try as one of torchrun's ranks; rank 0 writes what was found. Every rank of a try uses the first card."""
    die_with_parent()
    torch.set_num_threads(1)
    here = device.choose(0)
    device.make_current(here)
    backend = "gloo" if name == "gloo" else device.backend(here)
    dist.init_process_group(backend)
    try:
        for what, found, good in {"own": _one, "twice": _collectives, "gloo": _shared}[name](here):
            if dist.get_rank() == 0:
                expected = None if name in MAY_FAIL else good
                group = f"{dist.get_world_size()} on one device by {backend}"
                write(Fact(part=PART, what=f"{group}: {what}", found=found, good=expected))
    finally:
        dist.destroy_process_group()


Found = list[tuple[str, str, bool | None]]


def _collectives(here: torch.device) -> Found:
    """Return whether each collective that the product uses works on the device's memory. A collective."""
    ranks = dist.get_world_size()
    ones = torch.ones(ranks, device=here)
    group: Any = dist  # newer torch has another name for one of these, which older torch lacks
    tries: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: group.all_reduce(ones.clone()),
        "all_gather": lambda: group.all_gather([torch.empty_like(ones) for _ in range(ranks)], ones),
        "all_gather_into_tensor": lambda: group.all_gather_into_tensor(torch.empty(ranks**2, device=here), ones),
        "all_to_all_single": lambda: group.all_to_all_single(torch.empty_like(ones), ones),
    }
    return [_tried(what, collective) for what, collective in tries.items()]


def _tried(what: str, run_it: Callable[[], object]) -> tuple[str, str, bool | None]:
    """Return a finding: that the function ran, or what it raised."""
    try:
        run_it()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except Exception as error:  # noqa: BLE001  # what a backend raises is the finding
        return what, reason(error), False
    return what, "works", True


def _one(here: torch.device) -> Found:
    """Return whether the collectives of a group of one work, and whether FSDP2 over it computes as plain layers do."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(SIDE, SIDE), nn.Linear(SIDE, SIDE)).to(here).requires_grad_(requires_grad=False)
    numbers = torch.randn(4, SIDE, device=here)
    with torch.no_grad():
        plain = layers(numbers)
        shard(layers, layers, sharding_mesh(here.type, 1))
        apart = (layers(numbers) - plain).abs().max().item()
    return [*_collectives(here), ("FSDP2 differs from plain layers by", f"{apart:g}", apart == 0)]


def _shared(here: torch.device) -> Found:
    """Return whether two ranks on one card share a small job by each plan, as one rank makes it. A collective."""
    found = _collectives(here)
    alone = _video(drawn(SHAPES["tiny"], here), Plan(cfg_size=1, ulysses_size=1), ALONE)
    wan = drawn(SHAPES["tiny"], here, mesh=sharding_mesh(here.type, dist.get_world_size()))
    meshes = Meshes(here.type, dist.get_world_size())
    for name, plan in PLANS.items():
        try:
            layout = meshes.layout(plan, latent_rows=SIZE[1] // SPATIAL_STRIDE)
            apart = (_video(wan, plan, layout)[..., :8, :] - alone[..., :8, :]).abs().max().item()
        except Exception as error:  # noqa: BLE001  # what a backend raises is the finding
            found.append((f"plan {name}", reason(error), False))
            break  # the ranks may no longer be at the same collective
        found.append((f"plan {name}, video differs by at most", f"{apart:.2g}", apart <= VIDEO_APART_MAX))
    return found


def _video(wan: Wan, plan: Plan, layout: Layout) -> torch.Tensor:
    """Return the small job's video on this rank. A collective of the ranks of `layout`."""
    set_sharded(wan, dit_sharded=plan.dit_fsdp, t5_sharded=False)
    return generate(wan, JOB, picture(*SIZE), lambda _stage, _step: None, layout).float()


if __name__ == "__main__":
    if "RANK" in os.environ:
        as_a_rank(sys.argv[1])
    else:
        main(sys.argv[1])
