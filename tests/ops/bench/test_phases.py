"""The estimate of a rank's memory against the product's own code, run on fake tensors for a fake group of ranks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from contracts.memory import Holding, Work, estimate
from contracts.model_config import shape_of
from contracts.model_shape import WAN_14B, ModelShape
from contracts.plan import Plan
from inference.pocket.build import PocketShape, new_model
from inference.wan.residual import wan_dtype
from ops.bench.fit import APART_MAX, apart
from ops.bench.phases import measured, unread
from ops.bench.storages import Storages

SMALL = Work(width=256, height=144, num_frames=17)
CACHED = Work(width=256, height=144, num_frames=17, cached=True)
POCKET = PocketShape()
TINY = PocketShape(layers=2, heads=4, vae_dim=16, vae_dim_mult=(1, 2, 2, 2), text_layers=1, image_layers=1)


def shape(of: PocketShape) -> ModelShape:
    model = new_model(of)
    configs = (model.transformer.config, model.text_encoder.config.to_dict(), model.image_encoder.config.to_dict())
    return shape_of(*configs, model.vae.config)


@pytest.mark.parametrize(
    ("of", "ranks", "plan", "work"),
    [
        (POCKET, 1, Plan(cfg_size=1, ulysses_size=1), SMALL),
        (POCKET, 2, Plan(cfg_size=1, ulysses_size=2, dit_fsdp=True, t5_fsdp=True, vae_parallel=True), CACHED),
        (TINY, 2, Plan(cfg_size=2, ulysses_size=1, vae_parallel=True), CACHED),
        (TINY, 4, Plan(cfg_size=2, ulysses_size=2, t5_fsdp=True, vae_parallel=True), SMALL),
    ],
)
def test_the_estimate_is_what_the_code_takes(of: PocketShape, ranks: int, plan: Plan, work: Work) -> None:
    by_formula, by_code = estimate(shape(of), work, plan, Holding(ranks=ranks)), measured(shape(of), work, plan, ranks)
    assert apart(by_formula, by_code) < APART_MAX, (by_formula, by_code)
    assert not dist.is_initialized()


def test_the_parameters_of_a_14b_are_those_of_the_classes(tmp_path: Path) -> None:
    made = dict(_sizes(WAN_14B, tmp_path))
    assert made["block"] == (WAN_14B.block.large, WAN_14B.block.exact)
    assert made["around_blocks"] == (WAN_14B.around_blocks.large, WAN_14B.around_blocks.exact)
    assert made["text"] == (WAN_14B.text_block * WAN_14B.text_layers + WAN_14B.text_embedding).large
    assert made["image_encoder"] == WAN_14B.image_encoder.exact
    assert made["vae"] == pytest.approx(WAN_14B.vae.exact, rel=1e-3), "it leaves out some biases"


def _sizes(of: ModelShape, folder: Path) -> Iterator[tuple[str, object]]:
    checkpoint = unread(of, folder)
    named = list(checkpoint.transformer.build_empty().named_parameters())
    for name, block in (("block", True), ("around_blocks", False)):
        chosen = [(n, p.numel()) for n, p in named if n.startswith("blocks.0." if block else "")]
        if not block:
            chosen = [(n, size) for n, size in chosen if not n.startswith("blocks.")]
        exact = [size for n, size in chosen if wan_dtype(n, torch.bfloat16) == torch.float32]
        yield name, (sum(size for _, size in chosen) - sum(exact), sum(exact))
    yield "text", sum(p.numel() for p in checkpoint.text_encoder.build_empty().parameters())
    yield "image_encoder", sum(p.numel() for p in checkpoint.image_encoder.build_empty().parameters())
    yield "vae", sum(p.numel() for p in checkpoint.vae.build_empty().parameters())


def test_a_storage_counts_from_its_making_to_its_end_and_at_its_present_size() -> None:
    storages = Storages()
    with storages.counting():
        kept = torch.empty(1000)
        view = kept[:10]
        gone = torch.empty(500)
        del gone
        assert (storages.held, storages.peak) == (4000, 6000)
        assert storages.forget_peak() == 6000
        kept.untyped_storage().resize_(0)
        assert (storages.held, storages.peak) == (0, 4000)
        assert view.untyped_storage().nbytes() == 0
