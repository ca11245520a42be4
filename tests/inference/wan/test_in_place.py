"""The activation of the feed-forward layers overwrites its input, and computes the same."""

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from inference.wan.load import Wan


def test_the_activation_overwrites_its_input_with_what_it_would_have_returned(wan: Wan) -> None:
    activation: Any = wan.transformer.get_submodule("blocks.0.ffn.net.0")
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            values = torch.randn(1, 50, 48, generator=torch.Generator().manual_seed(1)).to(dtype)
            expected = F.gelu(values, approximate="tanh")
            found = activation.gelu(values)
            assert torch.equal(found, expected)
            assert found.data_ptr() == values.data_ptr()
