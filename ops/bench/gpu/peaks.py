"""The peak of cards in operations a second, by the name that the driver gives them. Pure.

Sources: NVIDIA's data sheets of H100 and H200 (both 2024) and of A100 (2021), which give the rates with sparsity; those
without it, which dense matrices can reach, are half of that. The SXM module of an H100 is named by its memory, that of
an H200 by nothing.
"""

from msgspec import Struct


class Peak(Struct, frozen=True):
    """The dense peak of a card in TFLOP/s: of bf16 with sums in fp32, and of 8-bit floats, or None if it has none."""

    bf16_tflops: float
    fp8_tflops: float | None


_SXM = Peak(989.4, 1978.9)
_NVL = Peak(835.5, 1671.0)

PEAKS = {
    "NVIDIA H200": _SXM,
    "NVIDIA H200 NVL": _NVL,
    "NVIDIA H100 80GB HBM3": _SXM,
    "NVIDIA H100 PCIe": Peak(756.0, 1513.0),
    "NVIDIA H100 NVL": _NVL,
    "NVIDIA A100": Peak(312.0, None),
}
"""Peaks by the beginning of the name; of several that fit the longest counts."""


def peak_of(name: str) -> Peak | None:
    """Return the peak of the card with this name, None for a card that the table does not know."""
    known = max((each for each in PEAKS if name.startswith(each)), key=len, default=None)
    return None if known is None else PEAKS[known]
