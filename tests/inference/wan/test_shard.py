"""Real torchrun ranks on gloo: however a model lies on them, it makes the same video, and memory is given back."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch

from inference.wan.load import Wan
from inference.wan.shard import keep
from tests.inference.wan.ranks import run_ranks

SCRIPT = Path(__file__).parent / "shares_of_a_rank.py"
FP32_PASSES = (
    "sharded",
    "gathered",
    "gathered_after_a_break",
    "sharded_again",
    "sharded_after_a_break",
)
KINDS = ("float32", "bfloat16", "fp8")
CHANGE_S = 1.0
RANKS = 2

Runs = Callable[[int], list[dict[str, torch.Tensor]]]


@pytest.fixture(scope="module")
def results(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    @cache
    def of(ranks: int) -> list[dict[str, torch.Tensor]]:
        return run_ranks(SCRIPT, ranks, checkpoint, tmp_path_factory.mktemp(f"ranks-{ranks}"))

    return of


@pytest.mark.parametrize("ranks", [1, RANKS])
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_and_gathered_make_the_latents_of_one_rank_bit_for_bit(results: Runs, ranks: int, kind: str):
    """In bf16 some parameters are fp32, and 8-bit layers are bytes: all types of a block travel together."""
    expected = results(1)[0][f"{kind}/sharded/latents"]
    for rank in results(ranks):
        passes = [name for name in rank if name.startswith(kind) and name.endswith("/latents")]
        assert len(passes) == (len(FP32_PASSES) if kind == "float32" else 2)
        assert [name for name in passes if not torch.equal(rank[name], expected)] == []


def test_a_rank_holds_its_rows_and_the_rest_only_while_it_is_gathered(results: Runs):
    for kind in KINDS:
        whole = results(1)[0][f"{kind}/own_bytes"].item()
        for rank in results(RANKS):
            assert rank[f"{kind}/own_bytes"].item() < 1.1 * whole / RANKS
            more = rank[f"{kind}/gathered/bytes"].item() - rank[f"{kind}/sharded/bytes"].item()
            assert whole <= more < 1.1 * whole


def test_changing_leaks_nothing_whatever_came_of_the_pass_before(results: Runs):
    for rank in results(RANKS):
        assert rank["float32/gathered_after_a_break/bytes"].item() == rank["float32/gathered/bytes"].item()
        assert rank["float32/sharded_again/bytes"].item() == rank["float32/sharded/bytes"].item()


def test_changing_takes_less_than_a_second(results: Runs):
    for rank in results(RANKS):
        assert median(took.item() for name, took in rank.items() if name.endswith("/seconds")) < CHANGE_S


def test_on_one_rank_there_is_nothing_to_keep_apart(wan: Wan):
    before = dict(wan.transformer.named_parameters())
    keep(wan, dit_sharded=True, t5_sharded=True)
    keep(wan, dit_sharded=False, t5_sharded=False)
    assert all(parameter is before[name] for name, parameter in wan.transformer.named_parameters())
