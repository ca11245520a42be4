"""Previews: what they show of the video to come, and that the video is the same with them and without."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional

from inference.pocket import POCKET_FOLDER
from inference.wan.generate import Picture, generate
from inference.wan.load import Wan, load
from inference.wan.pixels import rgb_bytes
from inference.wan.solvers import advance, clean_part, solver, timesteps
from inference.wan.vae.codec import SPATIAL_STRIDE
from inference.wan.vae.latent_rgb import fit
from tests.kit.tiny import go_on, image, job

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FITTED_DB_MIN = 20.0
AT_THE_END_DB_MIN = 20.0
STEPS = 4
SHORT = {"infer_steps": 8, "num_frames": 9}


class Shown:
    """The previews of a job, by step."""

    def __init__(self) -> None:
        self.pictures: dict[int, Picture | None] = {}

    def take(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        self.pictures[step] = make_preview()


@pytest.mark.parametrize("solver_name", ["unipc", "dpm++", "euler"])
def test_previews_change_no_bit_of_the_video(wan: Wan, solver_name: Any) -> None:
    asked, shown = job(sample_solver=solver_name), Shown()
    with_map = replace(wan, latent_rgb=fit(wan.vae))
    video = generate(with_map, asked, image(), go_on, offer_preview=shown.take)
    assert torch.equal(video, generate(wan, asked, image(), go_on))
    assert list(shown.pictures) == [1, 2, 3, 4]
    for picture in shown.pictures.values():
        assert picture is not None
        assert (picture.shape, picture.dtype) == ((48 // SPATIAL_STRIDE, 64 // SPATIAL_STRIDE, 3), np.uint8)


def test_a_model_without_a_map_offers_nothing_to_see(wan: Wan) -> None:
    shown = Shown()
    generate(wan, job(infer_steps=2), image(), go_on, offer_preview=shown.take)
    assert shown.pictures == {1: None, 2: None}


def test_a_fit_leaves_the_model_and_the_draws_as_they_were(wan: Wan) -> None:
    drawn = torch.random.get_rng_state()
    before = generate(wan, job(infer_steps=2), image(), go_on)
    assert fit(wan.vae).psnr_db == fit(wan.vae).psnr_db
    assert torch.equal(before, generate(wan, job(infer_steps=2), image(), go_on))
    assert torch.equal(drawn, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["unipc", "dpm++", "euler"])
def test_the_clean_latents_are_those_that_the_solver_goes_by(name: Any) -> None:
    scheduler = solver(name, STEPS, 3.0)
    latents, draw = torch.randn(1, 4, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    for step, timestep in enumerate(timesteps(scheduler)):
        noise = torch.randn(1, 4, generator=draw)
        clean = clean_part(scheduler, noise, step, latents)
        latents = advance(scheduler, noise, timestep, latents)
        if name != "euler":
            assert torch.equal(cast("Any", scheduler).model_outputs[-1], clean)
        if step == STEPS - 1:
            assert torch.allclose(latents, clean, atol=1e-5), "the last step removes all noise"


@pytest.fixture(scope="module")
def trained() -> Wan:
    wan = load(POCKET_FOLDER, torch.device("cpu"))
    return replace(wan, latent_rgb=fit(wan.vae))


def test_the_map_fits_a_trained_vae(trained: Wan) -> None:
    assert trained.latent_rgb is not None
    assert trained.latent_rgb.psnr_db > FITTED_DB_MIN


def test_the_last_preview_shows_what_the_video_shows_and_earlier_ones_less_of_it(trained: Wan) -> None:
    shown = Shown()
    asked = msgspec.structs.replace(job(**SHORT), prompt="a drawing, the camera pans left")
    video = generate(trained, asked, image(128, 80), go_on, offer_preview=shown.take)
    middle = (1 + (asked.num_frames - 1) // 4) // 2
    frames = video[:, 4 * middle - 3 : 4 * middle + 1].mean(1)
    target = rgb_bytes(functional.avg_pool2d(frames, SPATIAL_STRIDE)).astype(float)
    db = {
        step: 10 * np.log10(255**2 / np.mean((picture - target) ** 2))
        for step, picture in shown.pictures.items()
        if picture is not None
    }
    assert db[8] > AT_THE_END_DB_MIN
    assert db[8] > db[1]
