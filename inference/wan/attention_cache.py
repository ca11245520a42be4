"""Self-attention computed at some steps and reused at others: the rule, and what keeps the outputs for it.

Knows no text, no solver and no rank. What is done at a step follows from the step alone, so that ranks which share a
pass, and trade tokens where one computes, always do the same.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from contracts.job import Job


@dataclass(frozen=True)
class Rule:
    """Which steps, counted from 0, reuse what an earlier one stored. Source: `mindiesd/cache_agent` of MindIE-SD."""

    start: int
    interval: int
    end: int

    def reuses(self, step: int) -> bool:
        return self.start < step <= self.end and (step - self.start) % self.interval != 0

    def stores(self, step: int) -> bool:
        return self.start <= step < self.end and not self.reuses(step)


def rule_for(job: Job) -> Rule | None:
    """The job's rule, ending early enough for the last step to be computed; None where no step would reuse anything."""
    if not job.use_attentioncache:
        return None
    rule = Rule(job.start_step, job.attentioncache_interval, min(job.end_step, job.infer_steps - 2))
    return rule if any(map(rule.reuses, range(job.infer_steps))) else None


class AttentionCache:
    """The outputs of every block's self-attention, those of each branch of guidance by themselves."""

    def __init__(self, rule: Rule | None) -> None:
        self._rule = rule
        self.kept: dict[tuple[str, int], torch.Tensor] = {}
        self.branch = ""
        self.reuses = self.stores = False

    def begin(self, branch: str, step: int) -> None:
        """The pass that comes is this branch's at this step."""
        if self._rule is None:
            return
        self.branch = branch
        self.reuses, self.stores = self._rule.reuses(step), self._rule.stores(step)
        if step > self._rule.end:
            self.kept.clear()

    @contextmanager
    def over(self, transformer: WanTransformer3DModel) -> Generator[None]:
        """Stand in for the transformer's self-attention within the block, and keep nothing after it."""
        attentions: list[Any] = [] if self._rule is None else [block.attn1 for block in transformer.blocks]
        for at, attention in enumerate(attentions):
            attention.processor = _Kept(self, at, attention.processor)
        try:
            yield
        finally:
            for attention in attentions:
                attention.processor = attention.processor.computing
            self.kept.clear()


class _Kept:
    """The processor of one block: all that its self-attention module does."""

    def __init__(self, cache: AttentionCache, block: int, computing: Any) -> None:
        self._cache, self._block = cache, block
        self.computing = computing

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        cache, place = self._cache, (self._cache.branch, self._block)
        if cache.reuses:
            return cache.kept[place]
        output_BLD = self.computing(*args, **kwargs)
        if cache.stores:
            cache.kept[place] = output_BLD
        return output_BLD
