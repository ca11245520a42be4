"""Jobs as video objects."""

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from contracts.events import Timings
from contracts.fold import fold_all
from services.edge.errors import NotFound
from services.edge.v1.models import models_of
from services.edge.v1.video import job_id_of, video_of
from services.edge.views import View
from tests.contracts.test_plan import cluster
from tests.kit.builders import ID, failed, stage, started, submitted, succeeded

TIMINGS = Timings(load=1, encode=2, denoise=3, decode=4, mux=5, store=6)


def view(*events: object, timings: Timings | None = None, model: str | None = None) -> View:
    first = submitted()
    named = replace(first, job=replace(first.job, model=model or UNSET))
    status = fold_all([named, *events])  # pyright: ignore[reportArgumentType]
    assert status is not None
    return View(status, named, timings, 500.0)


def test_progress_is_whole_and_below_100_until_there_is_a_video() -> None:
    assert [
        video_of(view(started(1, 101.0), stage(1, 102.0, share)), []).progress for share in (0.0, 0.555, 0.9999)
    ] == [0, 55, 99]
    assert video_of(view(started(1, 101.0), succeeded(1, 103.0)), []).progress == 100


def test_times_and_parts_of_the_making_are_shown_once_there_is_a_video() -> None:
    video = video_of(view(succeeded(1, 103.5), timings=TIMINGS), [])
    assert (video.created_at, video.completed_at, video.expires_at) == (100, 103, 500)
    assert (video.inference_time_s, video.stage_durations) == (
        21.0,
        {"load": 1, "encode": 2, "denoise": 3, "decode": 4, "mux": 5, "store": 6},
    )


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("storage_full: there is no room for the video", "storage_full"),
        ("the cluster ran out of memory at the stage decode; what needs less: fewer num_frames", "out_of_memory"),
        ("it ran longer than the 1800 s that a job may", "timeout"),
        ("the input image is damaged", "image_unusable"),
        ("given up after 3 attempts", "worker_lost"),
        ("no room", "generation_failed"),
    ],
)
def test_a_failure_has_a_code(reason: str, code: str) -> None:
    video = video_of(view(replace(failed(1, 103.0), reason=reason)), [])
    assert video.error is not None
    assert (video.status, video.error.code, video.error.message) == ("failed", code, reason)


def test_model_and_size_are_those_of_the_job_else_those_of_the_clusters() -> None:
    one = replace(cluster("one", 2), model="pocket", default_size="256*144")
    assert (video_of(view(), []).model, video_of(view(), []).size) == ("default", "auto")
    assert (video_of(view(), [one]).model, video_of(view(), [one]).size) == ("pocket", "256x144")
    assert video_of(view(model="wan"), [one]).model == "wan"
    assert video_of(view(model="default"), [one]).model == "pocket"
    assert video_of(view(started(1, 101.0)), []).size == "256x144"
    assert [model.id for model in models_of([one, replace(one, model="a"), one])] == ["a", "pocket"]


@pytest.mark.parametrize(
    "text",
    ["", "video_", ID, f"video_{ID}x", f"video_{ID[:-1]}", f"VIDEO_{ID}", f"video_{ID[:-1]}G", f"video_video_{ID}"],
)
def test_an_id_is_ours_alone(text: str) -> None:
    assert job_id_of(f"video_{ID}") == ID
    with pytest.raises(NotFound):
        job_id_of(text)


def test_a_submission_that_cannot_be_read_still_has_a_video() -> None:
    video = video_of(View(view().status, None, None, None), [])
    assert (video.prompt, video.seconds, video.expires_at, video.seed) == (None, "0", None, None)
