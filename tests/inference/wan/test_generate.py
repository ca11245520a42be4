"""The denoising loop: against the stock pipeline, against itself, and stopped half-way."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.job import Job, Solver, shift_of
from inference.leader.mp4 import read_video_facts, write_mp4
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, TEXT_TOKENS, encode_image, encode_text
from inference.wan.generate import generate, noise_like
from inference.wan.load import Wan
from inference.wan.solvers import solver
from ops.bench.stock import stock_pipeline
from tests.kit.tiny import calls, go_on, image, job, latents

# diffusers' DPM++ asks NumPy for an array of a tensor in a way that NumPy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def stock(wan: Wan, asked: Job, output_type: str) -> torch.Tensor:
    """Generate the job's video with diffusers' own pipeline, whose sigmas are replaced by ours."""
    scheduler: Any = solver(asked.sample_solver, asked.infer_steps, shift_of(asked, "64*48"))
    scheduler.set_timesteps = lambda *_, **__: None
    pipeline = stock_pipeline(wan, scheduler)
    return pipeline(
        image=image(),
        prompt=asked.prompt,
        negative_prompt=DEFAULT_NEGATIVE_PROMPT if asked.negative_prompt is None else asked.negative_prompt,
        width=64,
        height=48,
        num_frames=asked.num_frames,
        num_inference_steps=asked.infer_steps,
        guidance_scale=asked.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
        output_type=output_type,
        return_dict=False,
    )[0]


@pytest.mark.parametrize("name", ["unipc", "dpm++", "euler"])
def test_the_latents_are_the_stock_pipelines_bit_for_bit(wan: Wan, name: Solver):
    asked = job(sample_solver=name)
    assert torch.equal(latents(wan, asked, image()), stock(wan, asked, "latent"))


@pytest.mark.parametrize(
    "changes", [{"negative_prompt": ""}, {"negative_prompt": "blurry"}, {"guidance_scale": 1.0}, {"num_frames": 5}]
)
def test_the_latents_are_the_stock_pipelines_for_this_too(wan: Wan, changes: dict[str, Any]):
    asked = job(**changes)
    assert torch.equal(latents(wan, asked, image()), stock(wan, asked, "latent"))


def test_the_video_is_the_stock_pipelines_bit_for_bit(wan: Wan):
    video = generate(wan, job(), image(), go_on)
    assert torch.equal((video * 0.5 + 0.5).clamp(0, 1), stock(wan, job(), "pt")[0].movedim(1, 0))


def test_the_video_has_the_images_size_and_the_jobs_frames(wan: Wan):
    video = generate(wan, job(num_frames=13), image(48, 80), go_on)
    assert video.shape == (3, 13, 80, 48)
    assert video.isfinite().all()
    assert video.abs().max() <= 1
    assert video.std() > 0.01


def test_the_video_can_be_written_from_another_thread(wan: Wan, tmp_path: Path):
    """Inference mode belongs to a thread, and its tensors refuse some uses outside it."""
    video = generate(wan, job(), image(), go_on)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(write_mp4, video, tmp_path / "video.mp4", lambda _count: None).result()
    assert read_video_facts(tmp_path / "video.mp4").num_frames == 9


def test_the_same_job_gives_the_same_latents_bit_for_bit(wan: Wan):
    assert torch.equal(latents(wan, job(), image()), latents(wan, job(), image()))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"prompt": "a dog sleeps in the sun"},
        {"negative_prompt": "blurry"},
        {"guidance_scale": 4.0},
        {"sample_shift": 3.0},
        {"sample_solver": "euler"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_the_client_chooses_changes_the_latents(wan: Wan, changes: dict[str, Any]):
    assert not torch.equal(latents(wan, job(), image()), latents(wan, job(**changes), image()))


@pytest.mark.parametrize(("image_size", "shift"), [("832*480", 3.0), ("480*832", 3.0), ("1280*720", 5.0), (None, 5.0)])
def test_a_shift_that_was_left_out_goes_by_the_size(wan: Wan, image_size: str | None, shift: float):
    left_out = latents(wan, job(image_size=image_size), image())
    assert torch.equal(left_out, latents(wan, job(sample_shift=shift), image()))


def test_another_image_changes_the_latents(wan: Wan):
    assert not torch.equal(latents(wan, job(), image()), latents(wan, job(), image(seed=1)))


def test_no_negative_prompt_means_wans_own_and_an_empty_one_means_none(wan: Wan):
    default = latents(wan, job(negative_prompt=None), image())
    assert torch.equal(default, latents(wan, job(negative_prompt=DEFAULT_NEGATIVE_PROMPT), image()))
    assert not torch.equal(default, latents(wan, job(negative_prompt=""), image()))


def test_a_seed_means_the_same_noise_for_every_size_of_condition():
    noise = noise_like(torch.zeros(1, 20, 3, 6, 8), 7, channels=16)
    assert torch.equal(noise, torch.randn(1, 16, 3, 6, 8, generator=torch.Generator("cpu").manual_seed(7)))


def test_guidance_takes_two_passes_a_step(wan: Wan):
    assert calls(wan.transformer, lambda: latents(wan, job(infer_steps=4), image())) == 8
    wan.prompt_cache.clear()
    assert calls(wan.text_encoder, lambda: latents(wan, job(infer_steps=4), image())) == 2


def test_without_guidance_there_is_one_pass_a_step_and_no_negative_prompt(wan: Wan):
    unguided = job(infer_steps=4, guidance_scale=1.0)
    assert calls(wan.transformer, lambda: latents(wan, unguided, image())) == 4
    wan.prompt_cache.clear()
    assert calls(wan.text_encoder, lambda: latents(wan, unguided, image())) == 1


def test_the_boundaries_come_before_each_stage_and_after_each_step(wan: Wan):
    seen: list[tuple[str, int]] = []
    generate(wan, job(infer_steps=3), image(), lambda stage, step: seen.append((stage, step)))
    steps = [("denoise", 1), ("denoise", 2), ("denoise", 3)]
    assert seen == [("encode", 0), ("denoise", 0), *steps, ("decode", 0)]


@pytest.mark.parametrize("last", [("encode", 0), ("denoise", 0), ("denoise", 2), ("denoise", 4), ("decode", 0)])
def test_a_job_stopped_at_any_boundary_leaves_nothing_to_the_next(wan: Wan, last: tuple[str, int]):
    class Enough(Exception):
        """Ends the job at a boundary."""

    def stop(stage: str, step: int) -> None:
        if (stage, step) == last:
            raise Enough

    before = generate(wan, job(), image(), go_on)
    with pytest.raises(Enough):
        generate(wan, job(seed=8, prompt="something else entirely"), image(seed=1), stop)
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(before, generate(wan, job(), image(), go_on))


def test_jobs_of_other_sizes_in_between_change_nothing(wan: Wan):
    before = latents(wan, job(), image())
    latents(wan, job(num_frames=13), image(48, 80))
    assert torch.equal(before, latents(wan, job(), image()))


def test_a_text_is_always_as_long_as_the_transformer_expects(wan: Wan):
    for text in ("", "a cat", "一只猫在雨中行走" * 100):
        assert encode_text(wan, text).shape == (1, TEXT_TOKENS, 32)
    assert encode_text(wan, "a cat")[0, -1].eq(0).all()


def test_texts_are_cleaned_as_upstream_does_it(wan: Wan):
    assert torch.equal(encode_text(wan, " a   cat &amp;amp; a dog\n"), encode_text(wan, "a cat & a dog"))


def test_an_image_is_a_token_a_patch_and_one_for_the_whole(wan: Wan):
    assert encode_image(wan.image_processor, wan.image_encoder, image()).shape == (1, 2 * 2 + 1, 16)
