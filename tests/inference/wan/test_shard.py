"""Real torchrun ranks on gloo: however a model lies on them, it makes the same video, and memory is given back."""

from functools import cache
from pathlib import Path

import pytest
import torch

from inference.wan.load import Wan
from inference.wan.shard import keep
from tests.inference.wan.ranks import run_ranks

SCRIPT = Path(__file__).parent / "shares_of_a_rank.py"
PASSES = ("sharded", "gathered", "gathered_after_a_break", "sharded_again")
SHARED_PASSES = (*PASSES, "sharded_ulysses_after_a_break", "gathered_ulysses")
DTYPES = ("float32", "bfloat16")
CHANGE_S = 1.0

Results = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def results(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory):
    @cache
    def of(ranks: int) -> Results:
        return run_ranks(SCRIPT, ranks, checkpoint, tmp_path_factory.mktemp(f"ranks-{ranks}"))

    return of


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sharded_and_gathered_make_the_latents_of_one_rank_bit_for_bit(results, ranks: int, dtype: str):
    expected = results(1)[0][f"{dtype}/sharded/latents"]
    for rank in results(ranks):
        different = [name for name in SHARED_PASSES if not torch.equal(rank[f"{dtype}/{name}/latents"], expected)]
        assert different == []


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rank_holds_its_rows_and_the_rest_only_while_it_is_gathered(results, ranks: int, dtype: str):
    whole = results(1)[0][f"{dtype}/own_bytes"].sum().item()
    for rank in results(ranks):
        own = rank[f"{dtype}/own_bytes"].sum().item()
        assert own < 1.1 * whole / ranks
        resting = rank[f"{dtype}/sharded/bytes"].item()
        gathered = rank[f"{dtype}/gathered/bytes"].item()
        assert whole <= gathered - resting < 1.1 * whole
        assert rank[f"{dtype}/gathered_after_a_break/bytes"].item() == gathered
        assert rank[f"{dtype}/sharded_again/bytes"].item() == resting


@pytest.mark.parametrize("ranks", [2, 4])
def test_changing_takes_less_than_a_second(results, ranks: int):
    for rank in results(ranks):
        assert max(rank[f"{dtype}/{name}/seconds"].item() for dtype in DTYPES for name in PASSES) < CHANGE_S


def test_on_one_rank_there_is_nothing_to_keep_apart(wan: Wan):
    before = dict(wan.transformer.named_parameters())
    keep(wan, dit_sharded=True, t5_sharded=True)
    keep(wan, dit_sharded=False, t5_sharded=False)
    assert all(parameter is before[name] for name, parameter in wan.transformer.named_parameters())
