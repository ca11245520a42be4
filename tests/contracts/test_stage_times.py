import pytest

from contracts.job import Job
from contracts.stage_times import MeasuredPace, expected, units

JOB = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1)
SMALL, LARGE = (
    MeasuredPace(pixels=pixels, encode=1e-6, denoise=denoise, decode=2e-6, store=5e-7)
    for pixels, denoise in ((100_000, 1e-7), (10_000_000, 4e-7))
)


def test_a_step_without_guidance_is_half_the_work() -> None:
    once = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1, guidance_scale=1.0)
    assert units("denoise", JOB, 1000) == 2 * units("denoise", once, 1000) == 40_000
    assert units("decode", JOB, 1000) == units("decode", once, 1000) == 1000


def test_a_job_takes_what_its_stages_took_at_the_nearest_size() -> None:
    assert expected([SMALL, LARGE], JOB, 200_000) == pytest.approx((0.2 + 0.8 + 0.4, 0.1))
    assert expected([SMALL, LARGE], JOB, 9_000_000) == pytest.approx((9 + 144 + 18, 4.5))
    assert expected([], JOB, 200_000) is None
