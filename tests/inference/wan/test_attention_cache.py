"""What is computed and what is reused, by the rule alone and in the model."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttention

from contracts.job import Job
from inference.wan.attention_cache import AttentionCache, Rule, cache_rule_for
from inference.wan.load import Wan
from tests.kit.tiny import calls, go_on, image, job, latents

CACHED = {"use_attentioncache": True, "start_step": 1, "attentioncache_interval": 3, "end_step": 5, "infer_steps": 7}


def cached(steps: int, start: int, interval: int, end: int, **changes: Any) -> Job:
    window = {"start_step": start, "attentioncache_interval": interval, "end_step": end}
    return job(use_attentioncache=True, infer_steps=steps, **window, **changes)


def sources(rule: Rule | None, steps: int) -> list[int]:
    """Return, for each step, the step that computed the output that it uses."""
    kept, used = -1, list[int]()
    for step in range(steps):
        if rule is not None and rule.reuses(step):
            used.append(kept)
            continue
        used.append(step)
        if rule is not None and rule.stores(step):
            kept = step
    return used


def computed(steps: int, start: int, interval: int, end: int) -> int:
    return len(set(sources(cache_rule_for(cached(steps, start, interval, end)), steps)))


def test_the_published_example_uses_the_steps_that_it_should() -> None:
    assert sources(cache_rule_for(cached(7, 1, 3, 5)), 7) == [0, 1, 1, 1, 4, 4, 6]


def test_the_recommended_setting_computes_21_of_40_steps() -> None:
    assert computed(40, 12, 4, 37) == 21
    assert sources(cache_rule_for(cached(40, 12, 4, 37)), 40)[-2:] == [38, 39]


def test_the_last_step_is_always_computed() -> None:
    for steps in range(20, 40):
        assert sources(cache_rule_for(cached(steps, 12, 4, 37)), steps)[-1] == steps - 1
    assert computed(30, 12, 4, 37) == 18


@pytest.mark.parametrize(
    "changes", [{"attentioncache_interval": 1}, {"start_step": 99, "end_step": 100}, {"use_attentioncache": False}],
    ids=["each step its own interval", "begins after the end", "off"],
)  # fmt: skip
def test_where_nothing_would_be_reused_nothing_is_kept(changes: dict[str, Any]) -> None:
    assert cache_rule_for(job(**{**CACHED, **changes})) is None


@pytest.mark.parametrize("window", [(12, 4, 37), (0, 2, 9), (3, 7, 8), (0, 100, 100)], ids=str)
def test_what_is_reused_was_stored_within_the_interval(window: tuple[int, int, int]) -> None:
    rule = cache_rule_for(cached(20, *window))
    for step, source in enumerate(sources(rule, 20)):
        assert step - window[1] < source <= step
        assert source == step or source >= window[0]


def self_attentions(wan: Wan) -> list[WanAttention]:
    found = [module for module in wan.transformer.modules() if isinstance(module, WanAttention)]
    return [module for module in found if not module.is_cross_attention]


def attention(wan: Wan, asked: Job) -> int:
    """Count how often the job computes the first block's self-attention."""
    return calls(self_attentions(wan)[0].to_q, lambda: latents(wan, asked, image(48, 48)))


def test_the_models_attention_is_computed_as_the_rule_says(wan: Wan) -> None:
    assert attention(wan, cached(40, 12, 4, 37, num_frames=5, guidance_scale=1.0)) == 21
    assert attention(wan, cached(30, 12, 4, 37, num_frames=5, guidance_scale=1.0)) == 18
    assert attention(wan, cached(7, 1, 3, 5)) == 2 * 4
    assert attention(wan, cached(7, 1, 1, 5)) == 2 * 7


def test_interval_1_equals_off(wan: Wan) -> None:
    plain = latents(wan, job(infer_steps=7), image())
    assert torch.equal(latents(wan, cached(7, 1, 1, 5), image()), plain)
    assert not torch.equal(latents(wan, cached(7, 1, 3, 5), image()), plain)


def test_each_branch_and_block_reuses_its_own(wan: Wan, caches: list[AttentionCache]) -> None:
    kept: dict[tuple[str, int], torch.Tensor] = {}
    latents(wan, job(**CACHED), image(), lambda _, step: kept.update(caches[0].outputs) if step == 3 else None)
    assert set(kept) == {(branch, block) for branch in ("cond", "uncond") for block in (0, 1)}
    assert torch.equal(kept["cond", 0], kept["uncond", 0])  # no text has been seen yet
    assert not torch.equal(kept["cond", 1], kept["uncond", 1])
    assert not torch.equal(kept["cond", 0], kept["cond", 1])


def test_memory_is_held_within_the_window_only(wan: Wan, caches: list[AttentionCache]) -> None:
    held: list[int] = []
    latents(wan, cached(8, 2, 2, 5), image(), lambda _, step: held.append(len(caches[0].outputs)) if step else None)
    assert held == [0, 0, 4, 4, 4, 4, 0, 0]


@pytest.mark.parametrize("last", [1, 3, 7, 99], ids="left after step {}".format)
def test_nothing_is_held_after_a_job_whatever_its_end(wan: Wan, caches: list[AttentionCache], last: int) -> None:
    class Enough(Exception):
        """Ends the job at a boundary."""

    def stop(_stage: str, step: int) -> None:
        if step == last:
            raise Enough

    before = [attention.processor for attention in self_attentions(wan)]
    try:
        latents(wan, job(**CACHED), image(), stop)
    except Enough:
        assert last < 99
    assert caches[0].outputs == {}
    assert [attention.processor for attention in self_attentions(wan)] == before
    assert torch.equal(latents(wan, job(), image(), go_on), latents(wan, job(), image()))


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> list[AttentionCache]:
    """The caches of the jobs that run in a test, in their order."""
    made: list[AttentionCache] = []
    real = AttentionCache.__init__

    def init(self: AttentionCache, rule: Rule | None) -> None:
        real(self, rule)
        made.append(self)

    monkeypatch.setattr(AttentionCache, "__init__", init)
    return made
