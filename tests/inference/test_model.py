import pytest

from contracts.plan import Plan
from contracts.process import env
from inference.model import choose_plan
from inference.settings import Settings
from inference.wan.load import Wan


def settings(plan: str) -> Settings:
    return env.read(Settings, {"PLAN": plan, "WORLD_SIZE": "2"})


def test_the_clusters_own_plan_is_the_fastest_or_what_the_operator_sets(wan: Wan) -> None:
    assert choose_plan(settings(""), wan.heads) == Plan(cfg_size=2, ulysses_size=1, vae_parallel=True)
    assert choose_plan(settings("cfg=1"), wan.heads) == Plan(cfg_size=1, ulysses_size=2)


def test_a_plan_that_the_ranks_cannot_run_stops_the_start_and_is_named(wan: Wan) -> None:
    with pytest.raises(SystemExit, match=r"^PLAN: with 2 ranks and 4 attention heads .* was cfg=2, ulysses=2$"):
        choose_plan(settings("cfg=2,ulysses=2"), wan.heads)
