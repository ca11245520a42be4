"""FP8 linear layers: weights and inputs are quantised to 8-bit floats, with one scale per row.

Called by `load` with FP8_LINEAR set. FP8 changes pixels beyond rounding, halves the weights' memory against bf16, and
doubles the throughput of Hopper's matrix units (`float8_e4m3fn`; Micikevicius et al. 2022).
"""

import torch
from torch import nn

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
SMALLEST_SCALE = 1e-12  # a row of zeros must not divide by zero


class Fp8Linear(nn.Module):
    """Takes the place of an `nn.Linear`. Weights are stored as uint8, because collectives do not know 8-bit floats."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        device, rows = linear.weight.device, linear.out_features
        self.weight = _frozen(torch.empty(rows, linear.in_features, dtype=torch.uint8, device=device))
        self.scale = _frozen(torch.empty(rows, 1, dtype=torch.float32, device=device))
        self.bias: nn.Parameter | None = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the layer's outputs in the inputs' dtype: … × `out_features`.

        Raises what torch raises if the device cannot multiply 8-bit floats.
        """
        rows_MK = inputs.reshape(-1, inputs.shape[-1])
        rounded_MK, scale_M1 = quantise(rows_MK)
        # `_scaled_mm` has no public name in torch.
        outputs_MN = torch._scaled_mm(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            rounded_MK.view(FLOAT8),
            self.weight.view(FLOAT8).t(),
            scale_a=scale_M1,
            scale_b=self.scale.t(),
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        outputs = outputs_MN.view(*inputs.shape[:-1], -1).to(inputs.dtype)
        return outputs if self.bias is None else outputs + self.bias


def quantise(rows_MK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows as 8-bit floats, viewed as uint8 (M × K), and the scale of each row in fp32 (M × 1)."""
    scale_M1 = rows_MK.abs().amax(dim=1, keepdim=True).float().clamp(min=SMALLEST_SCALE) / LARGEST
    return (rows_MK.float() / scale_M1).to(FLOAT8).view(torch.uint8), scale_M1


def convert(blocks: nn.Module) -> None:
    """Replace every `nn.Linear` below `blocks` by an `Fp8Linear`, in place.

    Only biases are kept: weights are read later.
    """
    for module in list(blocks.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Fp8Linear(child))


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    """Return a parameter of the tensor that requires no gradient."""
    return nn.Parameter(tensor, requires_grad=False)
