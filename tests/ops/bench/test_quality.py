"""The quality bench at a tiny size: what is exact loses nothing, what is coarse loses more than what is fine."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from inference.pocket.build import build
from ops.bench.quality import ALONE_VARIANTS, SHARED_VARIANTS, Variant, attention_share, cache, measure
from ops.bench.report.likeness import DB_MAX, QualityRow, ssim, table
from ops.bench.report.quality_plot import plot
from tests.kit.tiny import TINY, image, job

BY_NAME = {variant.name: variant for variant in ALONE_VARIANTS}
PROMPTS = ("pan to the left", "zoom in slowly")


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    build(tmp_path / "tiny", TINY)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "tiny"
    torch.set_num_threads(before)


def rows_of(folder: Path, *variants: Variant) -> list[QualityRow]:
    return list(measure(folder, image(), job(num_frames=5), variants, PROMPTS))


def test_what_is_exact_loses_nothing_and_fp8_more_than_bf16(folder: Path):
    variants = (Variant("as it is", steps=2), Variant("halved", {"infer_steps": 2}, 4))
    exact, halved = rows_of(folder, *variants)
    assert (exact.psnr_db, exact.ssim, exact.attention) == (DB_MAX, pytest.approx(1), 1)
    assert halved.psnr_db < DB_MAX
    assert halved.attention == 0.5
    coarse = (Variant(name, steps=2, open=BY_NAME[name].open) for name in ("bf16", "fp8_linear, bf16"))
    half, eighth = rows_of(folder, *coarse)
    assert DB_MAX > half.psnr_db > eighth.psnr_db
    lines = table([exact, half, eighth]).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("| as it is | 2 steps | 60+ | 60+ | 1.000 | 100 % |")
    assert plot([exact, half]).height < plot(20 * [exact, half]).height


def test_the_cache_loses_more_the_less_it_computes(folder: Path):
    often, seldom = rows_of(folder, cache(1, 2, 8, steps=10), cache(1, 8, 8, steps=10))
    assert 1 > often.attention > seldom.attention
    assert often.psnr_db > seldom.psnr_db
    drawn = plot([often, seldom])
    assert drawn.tobytes() != plot([often, often]).tobytes()


def test_the_share_of_attention_is_told_by_the_rule():
    assert attention_share(job(infer_steps=40)) == 1
    cached = job(infer_steps=40, use_attentioncache=True, start_step=12, attentioncache_interval=4, end_step=37)
    assert attention_share(cached) == pytest.approx(1 - 19 / 40)


def test_every_variant_has_a_name_of_its_own():
    names = [(variant.name, variant.steps) for variant in (*ALONE_VARIANTS, *SHARED_VARIANTS)]
    assert len(set(names)) == len(names)


def test_likeness_falls_with_noise():
    still = torch.rand(3, 2, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(2))
    near, far = ssim(still + 0.1 * noise, still), ssim(still + noise, still)
    assert 1 > near > far
