"""Real torchrun ranks on gloo: however many share a video, it is the same video bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inference.wan.load import Wan
from inference.wan.mesh import make_mesh, ulysses_degree
from inference.wan.parallelize import parallelize
from tests.conftest import REPOSITORY, environment

TORCHRUN_S = 100
SCRIPT = Path(__file__).parent / "latents_of_a_rank.py"
VIDEOS = ("even", "odd", "even_again", "unguided_odd", "video_odd")


def run_ranks(ranks: int, checkpoint: Path, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What each rank left behind."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(checkpoint), str(folder)],
        cwd=REPOSITORY,
        env=environment(OMP_NUM_THREADS="1", TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=TORCHRUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [load_file(folder / f"{rank}") for rank in range(ranks)]


@pytest.fixture(scope="session")
def alone(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return run_ranks(1, checkpoint, tmp_path_factory.mktemp("alone"))[0]


# The tiny model has 4 heads, so that 3 ranks cannot share; its videos have 36 and 27 tokens.
@pytest.mark.parametrize(
    ("ranks", "tokens_of_ranks"),
    [(2, [{18, 14}, {18, 13}]), (3, [{36, 27}] * 3), (4, [{9, 7}, {9, 7}, {9, 7}, {9, 6}])],
)
def test_ranks_that_share_a_video_make_the_one_that_a_rank_alone_makes(
    ranks: int,
    tokens_of_ranks: list[set[int]],
    alone: dict[str, torch.Tensor],
    checkpoint: Path,
    tmp_path: Path,
):
    results = run_ranks(ranks, checkpoint, tmp_path)
    assert [set(result["tokens"].tolist()) for result in results] == tokens_of_ranks
    for result in results:
        assert [name for name in VIDEOS if not torch.equal(result[name], alone[name])] == []


def test_two_sizes_give_two_videos(alone: dict[str, torch.Tensor]):
    assert alone["even"].shape != alone["odd"].shape
    assert torch.equal(alone["even"], alone["even_again"])
    assert not torch.equal(alone["odd"], alone["unguided_odd"])


@pytest.mark.parametrize(
    ("world_size", "heads", "degree"),
    [(1, 40, 1), (2, 40, 2), (3, 40, 1), (6, 40, 2), (8, 40, 8), (12, 40, 4), (16, 40, 8), (8, 6, 2), (3, 6, 3)],
)
def test_the_degree_is_the_largest_that_divides_ranks_and_heads(world_size: int, heads: int, degree: int):
    assert ulysses_degree(world_size, heads) == degree


def test_a_degree_that_does_not_divide_the_heads_is_refused(wan: Wan):
    with pytest.raises(ValueError, match="ulysses_size 3 does not divide the 4 attention heads"):
        parallelize(wan, 3)


def test_a_degree_that_does_not_divide_the_world_is_refused():
    with pytest.raises(ValueError, match="ulysses_size 2 does not divide the world size 3"):
        make_mesh("cpu", 3, 2)


def test_degree_one_touches_nothing(wan: Wan):
    parallelize(wan, 1)
    assert not wan.transformer.proj_out._forward_hooks
    assert not hasattr(wan.transformer.rope, "_diffusers_hook")
