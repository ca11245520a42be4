"""Attention cache: self-attention is computed at some denoising steps, and its output is reused at the steps between.

`generate` takes a job's rule from `cache_rule_for` and installs an `AttentionCache` in the transformer; `guidance`
announces each pass with `begin_pass`. The step number alone decides between computing and reusing, so all ranks that
share a pass, and trade tokens to compute it, decide alike.
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
    """Decides by the step number, counted from 0, which steps reuse the output that an earlier step stored.

    Source: `mindiesd/cache_agent` of MindIE-SD.
    """

    start: int
    interval: int
    end: int

    def reuses(self, step: int) -> bool:
        """Return whether `step` reuses the stored outputs."""
        return self.start < step <= self.end and (step - self.start) % self.interval != 0

    def stores(self, step: int) -> bool:
        """Return whether `step` stores its outputs, because a later step may reuse them."""
        return self.start <= step < self.end and not self.reuses(step)


def cache_rule_for(job: Job) -> Rule | None:
    """Return the job's rule, or None if no step would reuse an output. The last step is always computed.

    For that the rule ends at the last step but one, whatever the job's `end_step`.
    """
    if not job.use_attentioncache:
        return None
    rule = Rule(job.start_step, job.attentioncache_interval, min(job.end_step, job.infer_steps - 2))
    return rule if any(map(rule.reuses, range(job.infer_steps))) else None


class AttentionCache:
    """Holds the self-attention output of every block, separately for each branch of guidance.

    Made for one job; emptied when the block of `installed` ends.
    """

    def __init__(self, rule: Rule | None) -> None:
        self._rule = rule
        self._blocks: list[_CachingProcessor] = []
        self._branch = ""
        self._other_branches: dict[tuple[str, int], torch.Tensor] = {}
        self.reuses = self.stores = False

    @property
    def outputs(self) -> dict[tuple[str, int], torch.Tensor]:
        """The stored outputs by branch name and block index."""
        at_hand = {(self._branch, at): block.output_BLD for at, block in enumerate(self._blocks)}
        return self._other_branches | {place: output for place, output in at_hand.items() if output is not None}

    def begin_pass(self, branch: str, step: int) -> None:
        """Prepare for the next pass, of `branch` at `step`, counted from 0.

        Call it before every pass of the transformer. Outputs are dropped once `step` is past the rule's end. Does
        nothing without a rule.
        """
        if self._rule is None:
            return
        self.reuses, self.stores = self._rule.reuses(step), self._rule.stores(step)
        self._other_branches = {} if step > self._rule.end else self.outputs
        self._branch = branch
        for at, block in enumerate(self._blocks):
            block.output_BLD = self._other_branches.pop((branch, at), None)

    @contextmanager
    def installed(self, transformer: WanTransformer3DModel) -> Generator[None]:
        """Replace the self-attention processors of the transformer within the block; afterwards drop all outputs.

        However the block ends, the transformer then has its own processors again. Without a rule nothing is replaced.
        """
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
    """Attention processor of one block, which calls the block's own processor or returns the stored output.

    Holds one tensor and no branch name or block index: torch.compile would specialise on those, recompile for every
    block, and fall back to eager at its recompile limit.
    """

    def __init__(self, cache: AttentionCache, computing: Any) -> None:
        self._cache = cache
        self.computing = computing
        self.output_BLD: torch.Tensor | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the block's self-attention output, B × L × D, stored or computed by its own processor."""
        if self._cache.reuses:
            assert self.output_BLD is not None
            return self.output_BLD
        output_BLD = self.computing(*args, **kwargs)
        if self._cache.stores:
            self.output_BLD = output_BLD
        return output_BLD
