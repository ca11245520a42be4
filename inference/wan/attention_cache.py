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
        self._blocks: list[_CachingProcessor] = []
        self._branch = ""
        self._other_branches: dict[tuple[str, int], torch.Tensor] = {}
        self.reuses = self.stores = False

    @property
    def outputs(self) -> dict[tuple[str, int], torch.Tensor]:
        """By branch and block."""
        at_hand = {(self._branch, at): block.output_BLD for at, block in enumerate(self._blocks)}
        return self._other_branches | {place: output for place, output in at_hand.items() if output is not None}

    def begin_pass(self, branch: str, step: int) -> None:
        """The pass that comes is this branch's at this step."""
        if self._rule is None:
            return
        self.reuses, self.stores = self._rule.reuses(step), self._rule.stores(step)
        self._other_branches = {} if step > self._rule.end else self.outputs
        self._branch = branch
        for at, block in enumerate(self._blocks):
            block.output_BLD = self._other_branches.pop((branch, at), None)

    @contextmanager
    def installed(self, transformer: WanTransformer3DModel) -> Generator[None]:
        """Stand in for the transformer's self-attention within the block, and keep nothing after it."""
        attentions: list[Any] = [] if self._rule is None else [block.attn1 for block in transformer.blocks]
        self._blocks = [_CachingProcessor(self, attention.processor) for attention in attentions]
        for attention, block in zip(attentions, self._blocks, strict=True):
            attention.processor = block
        try:
            yield
        finally:
            for attention in attentions:
                attention.processor = attention.processor.computing
            self._blocks.clear()
            self._other_branches.clear()


class _CachingProcessor:
    """The processor of one block: all that its self-attention module does.

    It has only the output of the branch whose pass it is and knows neither name nor number: compiled blocks would be
    compiled anew for each, and past a few run uncompiled.
    """

    def __init__(self, cache: AttentionCache, computing: Any) -> None:
        self._cache = cache
        self.computing = computing
        self.output_BLD: torch.Tensor | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self._cache.reuses:
            assert self.output_BLD is not None
            return self.output_BLD
        output_BLD = self.computing(*args, **kwargs)
        if self._cache.stores:
            self.output_BLD = output_BLD
        return output_BLD
