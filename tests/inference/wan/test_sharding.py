"""Real torchrun ranks on gloo: however a model lies on them, it makes the same video, and memory is given back."""

from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch

from inference.wan.load import Wan, load
from inference.wan.sharding import set_sharded
from tests.inference.wan.shares_of_a_rank import own_bytes
from tests.kit.tiny import image, job, latents
from tests.kit.torchrun import run_ranks

MODULE = "tests.inference.wan.shares_of_a_rank"
FP32_PASSES = (
    "sharded",
    "gathered",
    "gathered_after_a_break",
    "sharded_again",
    "sharded_after_a_break",
)
KINDS = ("float32", "bfloat16", "fp8")
CHANGE_S = 1.0
SHARED_TOKENS_MAX = 0.01
RANKS = 2

Results = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def results(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_ranks(MODULE, RANKS, checkpoint, tmp_path_factory.mktemp("ranks"))


@cache
def alone(checkpoint: Path, kind: str) -> tuple[torch.Tensor, int]:
    """The latents of a rank that has nobody to share with, and the bytes of its two large models."""
    wan = load(checkpoint, torch.device("cpu"), dtype=getattr(torch, kind, None), fp8_linear=kind == "fp8")
    return latents(wan, job(infer_steps=2, num_frames=5), image(48, 48)), own_bytes(wan)


@pytest.mark.parametrize("kind", KINDS)
def test_sharded_and_gathered_make_the_latents_of_one_rank_bit_for_bit(results: Results, checkpoint: Path, kind: str):
    """Blocks have several dtypes: in bf16 some parameters are fp32, and FP8 layers are uint8."""
    expected, _ = alone(checkpoint, kind)
    for rank in results:
        passes = [name for name in rank if name.startswith(kind) and name.endswith("/latents")]
        assert len(passes) == (len(FP32_PASSES) if kind == "float32" else 2)
        assert [name for name in passes if not torch.equal(rank[name], expected)] == []


@pytest.mark.parametrize("kind", ["bfloat16", "fp8"])
def test_ranks_that_share_tokens_make_the_latents_of_one_rank_in_half_precision(
    results: Results, checkpoint: Path, kind: str
):
    """Within the rounding of the type: a product of fewer rows may be summed in another order."""
    expected, _ = alone(checkpoint, kind)
    for rank in results:
        assert (rank[f"{kind}/shared_tokens"] - expected).norm() / expected.norm() < SHARED_TOKENS_MAX


def test_a_rank_holds_its_rows_and_the_rest_only_while_it_is_gathered(results: Results, checkpoint: Path):
    for kind in KINDS:
        _, whole = alone(checkpoint, kind)
        for rank in results:
            assert rank[f"{kind}/own_bytes"].item() < 1.1 * whole / RANKS
            more = rank[f"{kind}/gathered/bytes"].item() - rank[f"{kind}/sharded/bytes"].item()
            others = whole - rank[f"{kind}/own_bytes"].item()
            assert others <= more < 1.1 * others, "its own rows lie in the gathered model alone"


def test_changing_leaks_nothing_whatever_came_of_the_pass_before(results: Results):
    for rank in results:
        assert rank["float32/gathered_after_a_break/bytes"].item() == rank["float32/gathered/bytes"].item()
        assert rank["float32/sharded_again/bytes"].item() == rank["float32/sharded/bytes"].item()


def test_changing_takes_less_than_a_second(results: Results):
    for rank in results:
        assert median(took.item() for name, took in rank.items() if name.endswith("/seconds")) < CHANGE_S


def test_on_one_rank_there_is_nothing_to_keep_apart(wan: Wan):
    before = dict(wan.transformer.named_parameters())
    set_sharded(wan, dit_sharded=True, t5_sharded=True)
    set_sharded(wan, dit_sharded=False, t5_sharded=False)
    assert all(parameter is before[name] for name, parameter in wan.transformer.named_parameters())
