"""The bench at its smallest: every row is there and says something possible. How fast it is no test can say."""

import math
import re
from pathlib import Path

import msgspec
import pytest
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Size, device, float32, int64, zeros
from torch.utils.flop_counter import FlopCounterMode

from inference.wan.encode import TEXT_TOKENS
from ops.bench import flops
from ops.bench.engine import Report, main
from ops.bench.report.row import Aim, Row, Series
from tests.kit.process import output_of

SMALLEST = (
    "--shape=tiny", "--size=64*48", "--frames=5", "--steps=3", "--count=1", "--ranks=2", "--film-size=64*48",
    "--film-frames=5", "--variants=ours,fp8+cache", "--parts=loop,mp4,card,control,plans",
)  # fmt: skip

ENGINE_S = 240

ROWS = {
    ("loop", "a step", "ours", "stock"),
    ("loop", "a job up to the video", "ours", "stock"),
    ("loop", "peak memory of a job", "ours", "stock"),
    ("mp4", "tensor to mp4, 64*48×5", "ours", "stock"),
    *(("card", "a step", "stock", ours) for ours in ("ours", "fp8+cache")),
    *(("card", "peak memory", ours, "stock") for ours in ("ours", "fp8+cache")),
    *(("card", "operations", reached, "matrix product") for reached in ("stock", "ours")),
    ("control", "vote and report of a step", "2 ranks", None),
    ("plans", "denoise", "1 rank", "2 ranks, cfg 2 × ulysses 1"),
    ("plans", "denoise", "1 rank", "2 ranks, cfg 1 × ulysses 2"),
    ("plans", "denoise", "2 ranks, cfg 2 × ulysses 1", "2 ranks, dit_fsdp"),
    ("plans", "denoise", "2 ranks, cfg 2 × ulysses 1", "2 ranks, attention cache"),
    ("plans", "encode", "1 rank", "2 ranks, vae_parallel"),
    ("plans", "decode", "1 rank", "2 ranks, vae_parallel"),
    ("plans", "decode, memory of a rank", "1 rank", "2 ranks, vae_parallel"),
}


@pytest.mark.timeout(ENGINE_S + 10)
def test_every_row_is_measured_and_left_as_table_json_and_plot(tmp_path: Path) -> None:
    out = tmp_path / "results"
    printed = output_of("-m", "ops.bench.engine", *SMALLEST, f"--out={out}", within_s=ENGINE_S, TMPDIR=str(tmp_path))
    assert {file.name for file in out.iterdir()} == {"engine.json", "engine.txt", "engine.svg"}
    rows = msgspec.json.decode((out / "engine.json").read_bytes(), type=Report).rows
    assert {(row.part, row.what, row.over.name, row.under and row.under.name) for row in rows} == ROWS
    assert all(1e-3 < row.ratio < 1e3 for row in rows)
    assert (out / "engine.txt").read_text() in printed
    assert (out / "engine.svg").read_text().count("<circle") == len(ROWS) - 1  # one is no ratio


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--parts=loop,speed", "--parts: there is no speed"),
        ("--shape=huge", "Invalid enum value 'huge' - at `$.shape`"),
        ("--count=0", "Expected `int` >= 1 - at `$.count`"),
        ("--variants=ours,faster", "Expected `str` matching regex"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(argument: str, told: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(told)):
        main([argument])


def row(over: list[float], under: list[float] | None, aim: Aim | None = None) -> Row:
    second = None if under is None else Series("b", under)
    return Row(part="loop", what="a step", unit="s", over=Series("a", over), under=second, aim=aim)


def test_a_ratio_is_taken_round_by_round() -> None:
    drifting = row([1, 2, 3, 4, 50], [2, 4, 6, 8, 10])
    assert (drifting.ratio, drifting.spread) == (0.5, (0.5, 0.5))


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (None, ""),
        (Aim("≤", 3), "yes"),
        (Aim("≤", 2), "within the spread"),
        (Aim("≤", 1.9), "no"),
        (Aim("≥", 3), "yes"),
        (Aim("≥", 4), "within the spread"),
        (Aim("≥", 4.1), "no"),
    ],
)
def test_an_aim_is_met_by_the_median_or_within_the_spread(aim: Aim | None, verdict: str) -> None:
    assert row([1, 2, 3, 4, 5], None, aim).verdict == verdict


def test_the_operations_of_a_pass_are_those_that_torch_counts() -> None:
    with device("meta"):
        transformer = WanTransformer3DModel(
            num_attention_heads=40, in_channels=36, text_dim=4096, ffn_dim=13824, num_layers=2,
            image_dim=1280, added_kv_proj_dim=5120,
        )  # fmt: skip
        latents = Size((1, 16, 3, 40, 60))
        with FlopCounterMode(display=False) as counted:
            transformer(
                hidden_states=zeros((1, 36, *latents[2:]), dtype=float32),
                timestep=zeros(1, dtype=int64),
                encoder_hidden_states=zeros(1, TEXT_TOKENS, 4096),
                encoder_hidden_states_image=zeros(1, 257, 1280),
            )
    ours = flops.of_a_pass(transformer.config, latents, TEXT_TOKENS, 257)
    assert math.isclose(ours, counted.get_total_flops(), rel_tol=0.03)


def test_attention_counts_two_products_over_all_heads() -> None:
    queries_by_keys = 2 * 40 * 128 * 75_600 * 75_600
    assert flops.of_attention(40 * 128, 75_600, 75_600) == 2 * queries_by_keys
