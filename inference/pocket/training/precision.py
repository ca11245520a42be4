"""Mixed precision in training: bf16 autocast if the device has bf16 instructions, with norms in fp32."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from inference.pocket.draws import device_of

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


@contextmanager
def autocast(model: nn.Module) -> Generator[None]:
    """Run the model's passes within the block in bf16, except on a CPU without bf16 instructions, where it is slow.

    Norms are in fp32. The weights keep their dtype.
    """
    device = device_of(model)
    if device.type == "cpu" and not has_bf16():
        yield
        return
    with torch.autocast(device.type, torch.bfloat16), _norms_in_fp32(model):
        yield


def has_bf16() -> bool:
    """Return whether this CPU has bf16 instructions; False with a supported version of torch that cannot tell."""
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return any(can.get(name) for name in BF16_INSTRUCTIONS)


@contextmanager
def _norms_in_fp32(model: nn.Module) -> Generator[None]:
    """Cast the inputs of RMS norms to fp32 within the block.

    torch's autocast does so on CUDA. On a CPU the norms would get bf16 inputs with fp32 weights, of which torch warns.
    """
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.RMSNorm):
                hooks.callback(module.register_forward_pre_hook(_in_fp32).remove)
        yield


def _in_fp32(_norm: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a norm with the first one in fp32; a forward pre-hook."""
    values, *rest = args
    return (values.float(), *rest)
