"""LRU cache of prompt embeddings; used by `encode`.

Encoding is a collective if the text encoder is sharded, so all ranks that share jobs must hit and miss alike: each
sees the same prompts in the same order, and all caches are cleared after a failed job.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch

PROMPTS_MAX = 32  # 4 MB each at full size


class PromptCache:
    """Holds up to `PROMPTS_MAX` embeddings and evicts the least recently used. Lives as long as its model."""

    def __init__(self) -> None:
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    def get(self, text: str, encode: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """Return the text's embedding; on a miss call `encode` and store the result. Nothing is stored if it raises."""
        if text not in self._embeddings:
            self._embeddings[text] = encode(text)
            if len(self._embeddings) > PROMPTS_MAX:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(text)
        return self._embeddings[text]

    def clear(self) -> None:
        """Drop all embeddings. After a failed job the caches of the ranks may differ, and encoding is a collective."""
        self._embeddings.clear()
