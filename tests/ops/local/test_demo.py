"""What the demo submits, and what it says of the job and of its video."""

import io
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from contracts.job import AUTO, JobRequest, video_path
from contracts.status import JobStatus, Results
from inference.leader.mp4 import write_mp4
from inference.pocket import POCKET_FOLDER
from ops.local import demo
from ops.local.arguments import Arguments
from ops.local.demo import NOTHING_ASKED, POCKET_PARAMETERS, note_on, progress, show
from ops.local.sample_image import PROMPT, sample
from ops.local.submission import POCKET_GUIDANCE, POCKET_MODEL, Model, request
from services.edge.body.submission import parse
from services.edge.errors import Invalid

ID = "0" * 32
WAN = Model("Wan2.1-I2V-14B-720P")
SUCCEED = JobStatus(
    job_id=ID,
    status="Succeed",
    results=Results(
        video_url=None,
        video_path=video_path(ID),
        width=48,
        height=32,
        num_frames=5,
        duration=0.3125,
        size_bytes=1000,
        seed=1,
    ),
)


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 200)).save(data, kind)
    return data.getvalue()


def test_what_is_submitted_is_a_request_that_the_edge_takes() -> None:
    asked = parse(request(sample(), PROMPT))
    assert (asked.image_size, asked.num_frames, asked.infer_steps) == ("auto", 25, 20)
    assert asked.image_url.startswith("data:image/png;base64,")


@pytest.mark.parametrize("model", [POCKET_MODEL, WAN])
@pytest.mark.parametrize(("width", "height"), [(40, 90), (90, 40), (40, 40)])
def test_the_size_is_left_to_the_service_whatever_the_picture_and_the_model(
    width: int, height: int, model: Model
) -> None:
    assert parse(request(picture(width, height, "JPEG"), PROMPT, model)).image_size == AUTO


def test_the_pocket_model_is_asked_for_less_guidance_and_another_for_its_own() -> None:
    default = JobRequest(prompt=PROMPT, image_url="").guidance_scale
    assert parse(request(sample(), PROMPT, WAN)).guidance_scale == default
    assert parse(request(sample(), PROMPT)).guidance_scale == POCKET_GUIDANCE


@pytest.mark.parametrize("prompt", ["boat", "pan left", "         .         ", "boat " * 200, '"\u00e9\n'])
def test_a_prompt_that_is_too_short_or_too_long_is_refused_in_the_words_of_the_api(prompt: str) -> None:
    body = msgspec.json.encode({"prompt": prompt.strip(), "image_url": "data:,"})
    with pytest.raises(Invalid) as of_the_api:
        parse(body)
    with pytest.raises(ValueError) as refusal:
        request(sample(), prompt)
    assert str(refusal.value) == of_the_api.value.objections[0].message


@pytest.mark.parametrize(
    ("prompt", "model", "note"),
    [
        (PROMPT, POCKET_MODEL, None),
        ("镜头向左移动，海上的船", POCKET_MODEL, None),
        ("steam rises from the cup", POCKET_MODEL, NOTHING_ASKED),
        ("小猫在草地上奔跑，阳光明媚", POCKET_MODEL, NOTHING_ASKED),
        ("steam rises from the cup", WAN, None),
    ],
)
def test_a_prompt_without_a_word_that_the_pocket_model_knows_is_said(
    prompt: str, model: Model, note: str | None
) -> None:
    assert note_on(prompt, model) == note


@pytest.mark.parametrize("model", [POCKET_MODEL, WAN])
def test_the_video_is_printed_before_its_sheet_and_the_pocket_model_is_called_one(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "REPOSITORY", tmp_path)
    video = tmp_path / video_path(ID)
    video.parent.mkdir()
    write_mp4(torch.zeros(3, 5, 32, 48), video, lambda _frame: None)
    show(Arguments(sample(), "boat.png", "镜头向左移动，海上的船"), model, SUCCEED)
    facts, *printed = capsys.readouterr().out.splitlines()
    assert facts.startswith("48x32, 5 frames, ")  # as the status says it
    sheet = video.with_suffix(".png")
    assert printed[:2] == [str(video), str(sheet)]
    with Image.open(sheet) as drawn:
        assert drawn.height > 3 * 32
    if model.is_pocket:
        assert "10.4 million parameters" in printed[2]
        assert "pan, zoom, turn, hold still" in printed[2]
        assert "MODEL_CKPT_DIR=" in printed[3]
    assert len(printed) == (4 if model.is_pocket else 2)


def test_the_pocket_model_is_what_is_said_of_it() -> None:
    card = msgspec.json.decode((POCKET_FOLDER / "wanjet.json").read_bytes(), type=dict)
    assert card["name"] == POCKET_MODEL.model
    parameters = 0
    for file in POCKET_FOLDER.rglob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            parameters += sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    assert round(parameters, -5) == POCKET_PARAMETERS


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
