import msgspec
import pytest

from contracts.job import (
    Generation,
    Job,
    JobRequest,
    cropped_share,
    job_of,
    nearest_size,
    output_size,
    shift_of,
    whole_frames,
)


@pytest.mark.parametrize(("asked", "made"), [(24, 25), (25, 25), (26, 25), (27, 29), (81, 81), (119, 121), (120, 121)])
def test_frames_are_rounded_to_the_nearest_4n_plus_1_ties_up(asked: int, made: int) -> None:
    assert whole_frames(asked) == made


def test_a_seed_is_drawn_only_where_none_was_given() -> None:
    request = JobRequest(prompt="a boat at sea", image_url="data:")
    assert job_of(request, seed=5).seed == 5
    assert job_of(JobRequest(prompt="a boat at sea", image_url="data:", seed=9), seed=5).seed == 9


def test_a_job_carries_everything_asked_for_but_the_image() -> None:
    request = JobRequest(prompt="a boat at sea", image_url="data:", guidance_scale=7.5, num_frames=27, ulysses_size=2)
    job = job_of(request, seed=1)
    assert (job.guidance_scale, job.num_frames, job.ulysses_size) == (7.5, 29, 2)
    assert not hasattr(job, "image_url")


@pytest.mark.parametrize(
    ("image", "keep_aspect", "size"),
    [
        ((4000, 3000), False, (1280, 720)),
        ((1000, 1000), True, (960, 960)),
        ((4000, 3000), True, (1104, 816)),
        ((1600, 900), True, (1280, 720)),
        ((720, 1280), True, (720, 1280)),
    ],
)
def test_the_output_size_is_the_one_asked_or_its_area_with_the_images_aspect(
    image: tuple[int, int], keep_aspect: bool, size: tuple[int, int]
) -> None:
    assert output_size("1280*720", keep_aspect, *image) == size


@pytest.mark.parametrize(
    ("asked", "image_size", "of_card", "shift"),
    [
        ({}, "1280*720", None, 5.0),
        ({}, "832*480", None, 3.0),
        ({}, "480*832", None, 3.0),
        ({}, "256*144", None, 5.0),
        ({}, "832*480", 4.0, 4.0),
        ({}, "1280*720", 4.0, 4.0),
        ({"sample_shift": 7.0}, "832*480", 4.0, 7.0),
        ({"sample_shift": 5.0}, "832*480", None, 5.0),
    ],
)
def test_the_shift_is_the_jobs_or_the_cards_or_the_sizes(asked, image_size, of_card, shift) -> None:
    job = Generation(prompt="a boat at sea", **asked)
    assert shift_of(job, image_size, of_card) == shift


def test_a_shift_that_was_left_out_is_left_out_on_the_wire() -> None:
    """A cluster of an older version then takes what it always took, and a job of an older edge keeps what it says."""
    left_out = Job(prompt="a boat at sea", num_frames=81, seed=1)
    assert b"sample_shift" not in msgspec.json.encode(left_out)
    old = msgspec.json.encode({**msgspec.to_builtins(left_out), "sample_shift": 5.0})
    assert msgspec.json.decode(old, type=Job).sample_shift == 5.0
    assert msgspec.json.decode(msgspec.json.encode(left_out), type=Job) == left_out


WAN = ("1280*720", "720*1280", "832*480", "480*832")


@pytest.mark.parametrize(
    ("image", "default", "size"),
    [
        ((4000, 3000), "1280*720", "1280*720"),
        ((1080, 1920), "1280*720", "720*1280"),
        ((1000, 1001), "832*480", "480*832"),
        ((1000, 1000), "832*480", "832*480"),
        ((1000, 1000), "480*832", "480*832"),
        ((8000, 1000), "832*480", "832*480"),
        ((1, 8192), "1280*720", "720*1280"),
    ],
)
def test_auto_is_the_nearest_aspect_at_the_defaults_resolution(image: tuple[int, int], default: str, size: str) -> None:
    assert nearest_size(WAN, default, *image) == size


def test_auto_knows_more_sizes_than_two_and_is_the_default_if_there_is_no_other() -> None:
    square = (*WAN, "960*960", "64*64")
    assert nearest_size(square, "1280*720", 900, 1000) == "960*960"
    assert nearest_size(["256*144"], "256*144", 10, 80) == "256*144"
    assert nearest_size([], "256*144", 10, 80) == "256*144"


@pytest.mark.parametrize(
    ("image", "share"),
    [((256, 144), 0.0), ((512, 288), 0.0), ((144, 256), 0.6836), ((256, 72), 0.5), ((192, 144), 0.25)],
)
def test_what_is_cut_off_is_a_share_of_the_picture(image: tuple[int, int], share: float) -> None:
    assert cropped_share(256, 144, *image) == share
