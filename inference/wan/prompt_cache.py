"""Embeddings of recent prompts. Knows no model; every rank that shares jobs keeps the same ones, in the same order."""

from collections import OrderedDict
from collections.abc import Callable

import torch

PROMPTS_MAX = 32  # 4 MB each at full size


class PromptCache:
    """The least recently used goes first."""

    def __init__(self) -> None:
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    def get(self, text: str, encode: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """The embedding of the text, by `encode` where it is not kept; what raises there is not kept."""
        if text not in self._embeddings:
            self._embeddings[text] = encode(text)
            if len(self._embeddings) > PROMPTS_MAX:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(text)
        return self._embeddings[text]

    def clear(self) -> None:
        """Forget all: after a job that failed, ranks may have kept different ones, and would not encode together."""
        self._embeddings.clear()
