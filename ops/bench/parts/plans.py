"""Measures every plan by which these ranks can share a job against one rank alone. `worker` calls `measure`.

While rank 0 works alone, the other ranks sleep in a barrier, so rank 0 has a core to itself.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from contracts.job import Job, parse_size
from contracts.plan import Plan, degrees
from inference.ranks import device
from inference.wan.generate import denoise, encode
from inference.wan.guidance import Conditions
from inference.wan.kernels import set_attention_backend
from inference.wan.load import Wan
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.parallel.mesh import Layout, Meshes
from inference.wan.sharding import set_sharded
from inference.wan.vae import codec
from ops.bench.clock import seconds
from ops.bench.memory import MEMORY_ROUNDS_MAX, peak_above
from ops.bench.picture import picture
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import Setup
from ops.bench.turns import by_turns, warmed
from ops.bench.weights import drawn, shape_of

ALONE = "1 rank"
AIMS = {"2 ranks, cfg 2 × ulysses 1": Aim("≥", 1.6), "2 ranks, cfg 1 × ulysses 2": Aim("≥", 1.3)}

Sides = dict[str, Callable[[], float]]


def measure(setup: Setup, _store: Store) -> Iterator[Row]:
    """Yield the rows of denoising, encoding and decoding, the same on all ranks.

    A collective: every rank iterates over it.
    """
    here, count, shape = device.choose(int(os.environ["LOCAL_RANK"])), dist.get_world_size(), shape_of(setup)
    plain, shared = drawn(shape, here), drawn(shape, here, mesh=sharding_mesh(here.type, count))
    for wan in (plain, shared):
        set_attention_backend(wan, None)
    with torch.inference_mode():
        conditions = encode(plain, setup.job, picture(*parse_size(setup.size)))
        ranks = Ranks(setup, plain, shared, Meshes(here.type, count), conditions, count)
        yield from _denoising(ranks)
        yield from _rows_of_the_picture(ranks)


@dataclass(frozen=True)
class Ranks:
    """View that one rank has of the group. `plain`: the unsharded model. `shared`: the FSDP2-sharded model.

    `conditions` is the encoded picture and prompt; `count` is the number of ranks.
    """

    setup: Setup
    plain: Wan
    shared: Wan
    meshes: Meshes
    conditions: Conditions
    count: int

    def alone(self, run: Callable[[], object]) -> Callable[[], float]:
        """Return a function that has rank 0 run `run` while the others wait, and returns the seconds of that.

        The function is a collective: every rank calls it.
        """
        return self.together(run if dist.get_rank() == 0 else lambda: None)

    def together(self, run: Callable[[], object]) -> Callable[[], float]:
        """Return a function that has all ranks run `run`, and returns the seconds until the last is done.

        The function is a collective: every rank calls it.
        """

        def until_all_are_done() -> None:
            run()
            dist.barrier()

        def timed() -> float:
            dist.barrier()
            return seconds(until_all_are_done, self.plain.device)

        return timed

    def most(self, run: Callable[[], object]) -> Callable[[], float]:
        """Return a function that has all ranks run `run`, and returns the largest peak above the model, in bytes.

        The function is a collective: every rank calls it.
        """

        def measured() -> float:
            bytes_taken = torch.tensor(peak_above(run, self.plain.device))
            dist.all_reduce(bytes_taken, dist.ReduceOp.MAX)
            return float(bytes_taken)

        return measured

    def layout(self, plan: Plan) -> Layout:
        """Return this rank's layout under the plan. A collective: every rank calls it."""
        return self.meshes.layout(plan, latent_rows=self.conditions.first_frame_BCTHW.shape[-2])

    def named(self, what: str) -> str:
        """Return the name of a series of all ranks, such as `2 ranks, vae_parallel`."""
        return f"{self.count} ranks, {what}"


def _denoising(ranks: Ranks) -> Iterator[Row]:
    """Yield denoising by each plan that uses all ranks; the best plan also with `dit_fsdp` and with the cache.

    The best plan is the first of `degrees`. There are no rows if no plan uses all ranks. A collective: every rank
    iterates over it.
    """
    job, cached = ranks.setup.job, ranks.setup.cached_job
    possible = degrees(ranks.count, ranks.plain.heads, guided=job.guided)
    plans = {
        ranks.named(f"cfg {cfg} × ulysses {ulysses}"): Plan(cfg_size=cfg, ulysses_size=ulysses)
        for cfg, ulysses in possible
        if cfg * ulysses == ranks.count
    }
    if not plans:
        return
    best = next(iter(plans))
    sharded, reusing = ranks.named("dit_fsdp"), ranks.named("attention cache")
    sides: Sides = {ALONE: ranks.alone(lambda: _denoise(ranks.plain, job, ranks, Layout()))}
    sides |= {name: _shared(ranks, plan, job) for name, plan in plans.items()}
    sides[sharded] = _shared(ranks, msgspec.structs.replace(plans[best], dit_fsdp=True), job)
    sides[reusing] = _shared(ranks, plans[best], cached)
    took = by_turns(warmed(sides), ranks.setup.count)
    for name in plans:
        yield _row("denoise", ALONE, name, took)
    yield _row("denoise", best, sharded, took)
    yield _row("denoise", best, reusing, took)


def _shared(ranks: Ranks, plan: Plan, job: Job) -> Callable[[], float]:
    """Return a function that has all ranks denoise by the plan, and returns the seconds until the last is done.

    Both are collectives: every rank calls them. The function first shards or gathers the model as the plan says.
    """
    layout = ranks.layout(plan)
    timed = ranks.together(lambda: _denoise(ranks.shared, job, ranks, layout))

    def sharded() -> float:
        set_sharded(ranks.shared, dit_sharded=plan.dit_fsdp, t5_sharded=False)
        return timed()

    return sharded


def _denoise(wan: Wan, job: Job, ranks: Ranks, layout: Layout) -> None:
    """Denoise the job from the encoded picture and prompt of `ranks`, shared by `layout`; the result is dropped."""
    denoise(wan, job, ranks.conditions, lambda _stage, _step: None, layout)


def _rows_of_the_picture(ranks: Ranks) -> Iterator[Row]:
    """Yield encoding, decoding and the memory of decoding, with `vae_parallel` against one rank.

    A collective: every rank iterates over it.
    """
    model, setup = ranks.plain.vae, ranks.setup
    image = picture(*parse_size(setup.size))
    latents_BCTHW = ranks.conditions.first_frame_BCTHW[:, -model.config["z_dim"] :]
    rows = ranks.layout(Plan(cfg_size=1, ulysses_size=1, vae_parallel=True)).rows
    split = ranks.named("vae_parallel")
    both: dict[str, Sides] = {
        "encode": {
            ALONE: ranks.alone(lambda: codec.first_frame_condition(model, image, setup.frames)),
            split: ranks.together(lambda: codec.first_frame_condition(model, image, setup.frames, rows)),
        },
        "decode": {
            ALONE: ranks.alone(lambda: codec.decode(model, latents_BCTHW)),
            split: ranks.together(lambda: codec.decode(model, latents_BCTHW, rows)),
        },
    }
    for stage, sides in both.items():
        yield _row(stage, ALONE, split, by_turns(warmed(sides), setup.count))
    memory: Sides = {
        ALONE: ranks.most(lambda: codec.decode(model, latents_BCTHW)),
        split: ranks.most(lambda: codec.decode(model, latents_BCTHW, rows)),
    }
    took = by_turns(memory, min(setup.count, MEMORY_ROUNDS_MAX))
    yield _row("decode, memory of a rank", ALONE, split, took, unit="bytes")


def _row(stage: str, over: str, under: str, took: Mapping[str, list[float]], unit: str = "s") -> Row:
    """Return the row of two sides, named `over` and `under`, from the samples that `by_turns` took."""
    first, second = (Series(name, took[name]) for name in (over, under))
    return Row(part="plans", what=stage, unit=unit, over=first, under=second, aim=AIMS.get(under))
