"""Real torchrun ranks on gloo: however they share a video, it is the one that a rank alone makes."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from inference.wan.generate import generate
from inference.wan.load import Wan
from tests.inference.wan.latents_of_a_rank import BANDED, JOBS, leave_in, names, plans
from tests.kit.tiny import TINY, go_on, halves, image, job, latents
from tests.kit.torchrun import TORCHRUN_S, run_ranks

MODULE = "tests.inference.wan.latents_of_a_rank"

pytestmark = [
    pytest.mark.timeout(TORCHRUN_S + 60),
    # diffusers' DPM++ asks NumPy for an array of a tensor in a way that NumPy 2 finds old.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


@dataclass
class Cluster:
    """The results that the ranks of one cluster have left, one mapping per rank."""

    ranks: int
    results: list[dict[str, torch.Tensor]]

    def of(self, name: str) -> list[torch.Tensor]:
        return [result[name] for result in self.results]


@pytest.fixture(scope="module", params=[2, 4], ids="{} ranks".format)
def cluster(
    request: pytest.FixtureRequest, checkpoint: Path, wan: Wan, tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """The results of each rank of one cluster; its ranks also resume from a snapshot that one rank alone has left."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.set_num_threads(1)  # as the ranks have it
    for name, (asked, size) in JOBS.items():
        leave_in(folder, name, halves(wan, asked, image(*size))[1][1])
    return Cluster(request.param, run_ranks(MODULE, request.param, checkpoint, folder))


@pytest.mark.parametrize("name", JOBS)
def test_by_every_plan_the_latents_are_those_of_one_rank_bit_for_bit(name: str, cluster: Cluster, wan: Wan) -> None:
    """Repeat with sharded weights after all other plans, after a job that was left, and after one that failed."""
    asked, size = JOBS[name]
    alone = latents(wan, asked, image(*size))
    for ending in ("", " again") if name in names(cluster.ranks, " again") else ("",):
        for cfg, ulysses in plans(cluster.ranks, TINY.heads, asked):
            for of_rank in cluster.of(f"{cfg}x{ulysses} {name}{ending}"):
                assert torch.equal(of_rank, alone), (cfg, ulysses, ending)


@pytest.mark.parametrize("name", JOBS)
def test_by_every_plan_a_job_goes_on_from_where_one_rank_left_it(name: str, cluster: Cluster, wan: Wan) -> None:
    asked, size = JOBS[name]
    alone = latents(wan, asked, image(*size))
    for cfg, ulysses in plans(cluster.ranks, TINY.heads, asked):
        for of_rank in cluster.of(f"{cfg}x{ulysses} {name} resumed"):
            assert torch.equal(of_rank, alone), (cfg, ulysses)


@pytest.mark.parametrize("size", BANDED, ids=str)
def test_a_video_made_in_bands_of_rows_is_the_one_made_whole(size: tuple[int, int], cluster: Cluster, wan: Wan) -> None:
    alone = latents(wan, job(), image(*size))
    video = as_bytes(generate(wan, job(), image(*size), go_on))
    heights = [int(rows) for rows in cluster.of(f"rows {size}")]
    bands = next(bands for bands in range(1, cluster.ranks + 1) if sum(heights[:bands]) == video.shape[2])
    for rank in range(cluster.ranks):
        assert (cluster.of(f"latents {size}")[rank] - alone).abs().max() < 1e-4
        above = sum(heights[rank - rank % bands : rank])
        own = video if rank % bands == 0 else video[:, :, above : above + heights[rank]]
        assert (as_bytes(cluster.of(f"video {size}")[rank]) - own).abs().max() <= 1, "rank 0 alone gathers the whole"


def as_bytes(video: torch.Tensor) -> torch.Tensor:
    return video.add(1).mul(127.5).round().clamp(0, 255).to(torch.int16)


def test_each_rank_decodes_its_own_rows_alone(cluster: Cluster) -> None:
    rows = {size: [int(rows) for rows in cluster.of(f"rows {size}")] for size in BANDED}
    assert (
        rows
        == {
            2: {(64, 48): [24, 24], (48, 112): [56, 56], (64, 16): [8, 8]},
            4: {(64, 48): [16, 16, 8, 8], (48, 112): [32, 32, 24, 24], (64, 16): [8, 8, 8, 8]},
        }[cluster.ranks]
    )


def test_each_rank_does_its_share_of_the_passes_and_of_the_tokens(cluster: Cluster) -> None:
    """Four steps of two branches, 36 tokens; of two ranks each has a branch, of four two have its tokens."""
    assert [int(passes) for passes in cluster.of("passes")] == [4] * cluster.ranks
    assert [int(tokens) for tokens in cluster.of("tokens")] == {2: [36, 36], 4: [18] * 4}[cluster.ranks]


def test_another_plan_is_there_at_once_and_leaves_nothing_behind(cluster: Cluster) -> None:
    assert [int(more) for more in cluster.of("more groups")] == [0] * cluster.ranks
    assert [int(hooks) for hooks in cluster.of("more hooks")] == [0] * cluster.ranks
    assert max(float(seconds) for seconds in cluster.of("slowest change")) < 10  # 0.3 where nothing else runs


def test_jobs_differ(wan: Wan) -> None:
    made = [latents(wan, asked, image(*size)) for asked, size in JOBS.values()]
    assert not any(torch.equal(one, other) for i, one in enumerate(made) for other in made[:i])
