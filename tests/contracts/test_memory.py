"""The estimate of a rank's memory: that it moves as plans, sizes and settings say. Its numbers are held elsewhere."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.memory import PHASES, Holding, Peaks, Work, estimate
from contracts.model_config import shape_of
from contracts.model_shape import WAN_14B, Weights
from contracts.plan import Plan, degrees

HD = Work(width=1280, height=720, num_frames=81)
GB = 1e9


def plan(cfg: int = 2, ulysses: int = 4, *, sharded: bool = False, bands: bool = True) -> Plan:
    return Plan(cfg_size=cfg, ulysses_size=ulysses, dit_fsdp=sharded, t5_fsdp=sharded, vae_parallel=bands)


def peaks(work: Work = HD, by: Plan | None = None, ranks: int = 8, **holding: bool) -> Peaks:
    return estimate(WAN_14B, work, by or plan(), Holding(ranks=ranks, **holding))


def test_a_14b_has_the_parameters_that_its_index_says() -> None:
    """65579515136 bytes in fp32, by the index of Wan-AI/Wan2.1-I2V-14B-720P."""
    whole = WAN_14B.block * WAN_14B.layers + WAN_14B.around_blocks
    assert (whole.large + whole.exact) * 4 == 65_579_515_136


def test_two_cards_that_share_the_branches_need_little_more_than_one_model_each() -> None:
    assert peaks(by=plan(2, 1), ranks=2).bytes < 58 * GB


def test_sharded_weights_keep_eight_cards_below_the_promised_gigabytes() -> None:
    assert peaks(by=plan(sharded=True)).bytes < 20 * GB
    assert peaks(replace(HD, num_frames=121), plan(sharded=True)).bytes < 25 * GB


def test_the_worst_phase_is_named() -> None:
    assert peaks(by=plan(1, 1, bands=False), ranks=1).worst == "decode"
    assert peaks(replace(HD, cached=True), plan(sharded=True)).worst == "denoise"
    assert Peaks(weights=1, text=5, encode=2, denoise=3, decode=4).bytes == 5


@given(
    ranks=st.sampled_from([2, 4, 5, 8, 16]),
    side=st.sampled_from([480, 720, 1280]),
    frames=st.sampled_from([25, 81, 121]),
    cached=st.booleans(),
    guided=st.booleans(),
)
def test_sharding_and_bands_never_need_more(ranks: int, side: int, frames: int, cached: bool, guided: bool) -> None:
    work = Work(width=side, height=side, num_frames=frames, cached=cached, guided=guided)
    for cfg, ulysses in degrees(ranks, 40, guided=guided):
        gathered, sharded = (peaks(work, plan(cfg, ulysses, sharded=each), ranks) for each in (False, True))
        assert sharded.bytes <= gathered.bytes
        whole = peaks(work, plan(cfg, ulysses, sharded=True, bands=False), ranks)
        assert sharded.encode <= whole.encode
        assert sharded.decode <= whole.decode


def test_the_cache_costs_an_output_of_every_block_for_each_branch_of_a_rank() -> None:
    output = 75_600 * 5120 * 2
    for by, ranks, branches in ((plan(2, 1), 2, 1), (plan(1, 2), 2, 2), (plan(1, 8), 8, 2)):
        more = peaks(replace(HD, cached=True), by, ranks).denoise - peaks(HD, by, ranks).denoise
        assert more == 40 * branches * output // by.ulysses_size


def test_offloaded_models_are_held_in_their_own_phases_alone() -> None:
    before, after = peaks(), peaks(text_offloaded=True)
    assert before.denoise - after.denoise == pytest.approx(11.36 * GB, rel=0.01)
    smaller = peaks(picture_models_offloaded=True)
    assert before.denoise - smaller.denoise == pytest.approx(3.0 * GB, rel=0.02)
    assert 0 < before.decode - smaller.decode < before.denoise - smaller.denoise


def test_a_shape_survives_the_wire() -> None:
    content = msgspec.json.encode(WAN_14B)
    assert msgspec.json.decode(content, type=type(WAN_14B)) == WAN_14B


def test_a_configuration_that_lacks_a_number_is_refused() -> None:
    with pytest.raises(KeyError):
        shape_of({}, {}, {}, {})


def test_a_shape_is_not_made_of_what_is_no_number() -> None:
    names = (
        "num_layers num_attention_heads attention_head_dim ffn_dim vocab_size d_model num_heads d_kv d_ff "
        "num_hidden_layers hidden_size intermediate_size image_size patch_size base_dim num_res_blocks"
    )
    every: dict[str, Any] = dict.fromkeys(names.split(), 16)
    assert shape_of(every, every, every, every | {"dim_mult": [1, 2]}).dim == 256
    for wrong in ([1, "2"], [], 3, None, [0], [1] * 17):
        with pytest.raises(msgspec.ValidationError):
            shape_of(every, every, every, every | {"dim_mult": wrong})


def test_parameters_add_up_by_type() -> None:
    assert (Weights(2, 3) * 2 + Weights(1, 0)).size(2) == 5 * 2 + 6 * 4


def test_every_phase_is_a_field() -> None:
    assert Peaks.__struct_fields__ == PHASES
