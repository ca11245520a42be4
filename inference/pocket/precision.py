"""Half precision where it is faster. Knows no model."""

import torch

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def autocast(device: torch.device) -> torch.autocast:
    """bf16, unless this is a CPU that has no instructions for it and would crawl."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu" or _has_bf16())


def _has_bf16() -> bool:
    # Older versions of torch within our range cannot tell.
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return any(can.get(name) for name in BF16_INSTRUCTIONS)
