import io
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from contracts.job import JobRequest
from contracts.status import JobStatus
from ops.demo import progress, request, sample
from ops.sample import PROMPT
from tests.conftest import completed

ID = "0" * 32


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 200)).save(data, kind)
    return data.getvalue()


def test_what_is_submitted_is_a_request_that_the_edge_takes() -> None:
    asked = msgspec.json.decode(request(sample(), PROMPT), type=JobRequest)
    assert (asked.image_size, asked.num_frames, asked.infer_steps) == ("256*144", 25, 20)
    assert asked.image_url.startswith("data:image/png;base64,")


@pytest.mark.parametrize(("width", "height", "size"), [(40, 90, "144*256"), (90, 40, "256*144"), (40, 40, "256*144")])
def test_the_video_stands_or_lies_as_the_picture_does(width: int, height: int, size: str) -> None:
    assert msgspec.json.decode(request(picture(width, height, "JPEG"), PROMPT), type=JobRequest).image_size == size


def test_a_picture_on_its_side_counts_as_it_is_seen() -> None:
    data, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.new("RGB", (90, 40)).save(data, "JPEG", exif=exif)
    assert msgspec.json.decode(request(data.getvalue(), PROMPT), type=JobRequest).image_size == "144*256"


@pytest.mark.parametrize("data", [b"", b"no picture", picture(40, 40, "GIF"), picture(400, 400)[:200]])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="the picture is no PNG, JPEG or WEBP"):
        request(data, PROMPT)


def test_a_prompt_that_is_too_short_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="the prompt has 4 characters"):
        request(sample(), "boat")


def test_a_path_without_a_picture_is_said(tmp_path: Path) -> None:
    answer = completed("-m", "ops.demo", str(tmp_path / "none.png"), within_s=20)
    assert answer.returncode == 1
    assert answer.stderr == f"no picture can be read at {tmp_path / 'none.png'} (No such file or directory)\n"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (JobStatus(job_id=ID, queue_position=2), "  0 %  waiting, number 2 in the queue"),
        (JobStatus(job_id=ID, status="InProgress", attempt=1), "  0 %  starting"),
        (
            JobStatus(job_id=ID, status="InProgress", attempt=1, stage="denoise", step=7, progress=0.42),
            " 42 %  denoise, step 7 of 20",
        ),
        (JobStatus(job_id=ID, status="InProgress", attempt=1, stage="store", progress=0.99), " 99 %  store"),
        (JobStatus(job_id=ID, status="Succeed", progress=1.0), "100 %  Succeed"),
    ],
)
def test_progress_says_stage_step_and_percent(status: JobStatus, shown: str) -> None:
    assert progress(status) == shown
