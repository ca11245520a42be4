"""Half precision where it is faster. Knows no model."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from inference.pocket.draws import device_of

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


@contextmanager
def autocast(model: nn.Module) -> Generator[None]:
    """Run the passes of a model in bf16, unless it is on a CPU that has no instructions for bf16 and would crawl."""
    device = device_of(model)
    if device.type == "cpu" and not has_bf16():
        yield
        return
    with torch.autocast(device.type, torch.bfloat16), _norms_in_fp32(model):
        yield


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16. Older versions of torch within our range cannot tell: False."""
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return any(can.get(name) for name in BF16_INSTRUCTIONS)


@contextmanager
def _norms_in_fp32(model: nn.Module) -> Generator[None]:
    """Give RMS norms their input in fp32, for the length of the block.

    torch's autocast does so by itself on CUDA. On a CPU it hands them bf16 beside fp32 weights, of which torch warns.
    """
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.RMSNorm):
                hooks.callback(module.register_forward_pre_hook(_in_fp32).remove)
        yield


def _in_fp32(_norm: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    values, *rest = given
    return (values.float(), *rest)
