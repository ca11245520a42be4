from collections.abc import Generator
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from contracts.fitting import Room
from contracts.memory import Holding
from contracts.model_shape import WAN_14B
from contracts.plan import Plan
from contracts.process import env
from inference.model import choose_plan, holding, room_of, shape
from inference.settings import Settings
from inference.wan.load import Wan


def settings(plan: str) -> Settings:
    return env.read(Settings, {"PLAN": plan, "WORLD_SIZE": "2"})


def test_the_clusters_own_plan_is_the_fastest_or_what_the_operator_sets(wan: Wan) -> None:
    assert choose_plan(settings(""), wan.heads) == Plan(cfg_size=2, ulysses_size=1, vae_parallel=True)
    assert choose_plan(settings("cfg=1"), wan.heads) == Plan(cfg_size=1, ulysses_size=2)


@pytest.mark.parametrize(("gigabytes", "sharded"), [(80, False), (36, True), (1, True)])
def test_the_clusters_own_plan_fits_its_cards_or_needs_least(gigabytes: int, sharded: bool) -> None:
    room = Room(card_bytes=gigabytes * 10**9, shape=WAN_14B, holding=Holding(ranks=2))
    plan = choose_plan(settings(""), 40, room, "832*480")
    assert plan.dit_fsdp is plan.t5_fsdp is sharded
    assert choose_plan(settings("cfg=1"), 40, room, "832*480") == Plan(cfg_size=1, ulysses_size=2), "PLAN decides"


def test_a_loaded_model_has_its_numbers(wan: Wan) -> None:
    found = shape(wan)
    assert (found.layers, found.heads, found.dim, found.vae_dim_mult) == (2, 4, 48, (1, 2, 2, 2))
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_the_settings_say_what_a_rank_holds() -> None:
    asked = env.read(Settings, {"WORLD_SIZE": "4", "OFFLOAD_TEXT_ENCODER": "1", "FP8_LINEAR": "1"})
    assert holding(asked, torch.device("cuda")) == Holding(ranks=4, text_offloaded=True, fp8_linear=True)
    asked = env.read(Settings, {"OFFLOAD_PICTURE_MODELS": "1"})
    assert holding(asked, torch.device("cuda")) == Holding(ranks=1, picture_models_offloaded=True)


def test_a_cpu_has_no_cards(wan: Wan) -> None:
    assert room_of(settings(""), wan) is None


@pytest.fixture
def group() -> Generator[None]:
    dist.init_process_group(backend="fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_card_has_what_is_free_and_what_the_model_holds_already(wan: Wan, monkeypatch: pytest.MonkeyPatch) -> None:
    on_card = replace(wan, device=torch.device("cuda:0"))
    monkeypatch.setattr(torch.accelerator, "memory_reserved", lambda _device: 20 * 10**9)
    monkeypatch.setattr(torch, "get_device_module", lambda _device: SimpleNamespace(mem_get_info=lambda: (10**9, 0)))
    room = room_of(settings(""), on_card)
    assert room == Room(card_bytes=21 * 10**9, shape=shape(wan), holding=Holding(ranks=2))
    monkeypatch.setattr(torch, "get_device_module", lambda _device: SimpleNamespace())
    assert room_of(settings(""), on_card) is None


def test_a_plan_that_the_ranks_cannot_run_stops_the_start_and_is_named(wan: Wan) -> None:
    with pytest.raises(SystemExit, match=r"^PLAN: with 2 ranks and 4 attention heads .* was cfg=2, ulysses=2$"):
        choose_plan(settings("cfg=2,ulysses=2"), wan.heads)
