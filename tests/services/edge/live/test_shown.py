"""What readers of live events get to see of a message of the log, and what not."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Stored
from contracts.events import (
    Event,
    JobCancelled,
    JobDeclined,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
)
from contracts.job import Job
from services.edge.live.shown import HIDDEN, LiveEvent, shown
from tests.kit import builders
from tests.kit.builders import ID

KINDS = (
    JobSubmitted, JobDeclined, JobStarted, StageStarted, StepCompleted, JobReleased, JobSucceeded, JobFailed,
    JobCancelled, JobDeleted,
)  # fmt: skip
DECIDED = {
    "requestId", "created_at", "job", "at", "unknown", "attempt", "width", "height", "num_frames", "plan",
    "resumed_from_step", "progress", "cropped", "stage", "done", "step", "steps", "video_url", "video_path",
    "duration", "size_bytes", "sha256", "seed", "timings", "reason", "metadata", "eta_seconds",
    "model", "remixed_from", "queue_seconds", "run_seconds",
}  # fmt: skip
"""The fields that may be shown. Whoever adds a field to an event decides here, or in `HIDDEN`."""
OF_A_JOB = {
    "prompt", "negative_prompt", "image_size", "keep_aspect", "guidance_scale", "infer_steps", "sample_solver",
    "sample_shift", "ulysses_size", "cfg_size", "dit_fsdp", "t5_fsdp", "vae_parallel", "use_attentioncache",
    "start_step", "attentioncache_interval", "end_step", "num_frames", "seed", "model",
}  # fmt: skip


def of(event: Event, subject: str = "") -> LiveEvent:
    found = shown(Stored(subject or subjects.event(event), 7, wire.encode(event), 1.0))
    assert found is not None
    return found


def test_it_is_decided_of_every_field_whether_it_is_shown() -> None:
    fields = {field.encode_name for kind in KINDS for field in msgspec.structs.fields(kind)}
    assert fields - set(HIDDEN) == DECIDED
    assert {field.encode_name for field in msgspec.structs.fields(Job)} == OF_A_JOB


def test_what_processes_agree_on_among_themselves_is_hidden() -> None:
    submitted = replace(
        builders.submitted(), fingerprint="0" * 64, input_tag="01234567", webhook_url="https://a.test/?s"
    )
    for event in (submitted, builders.started(1, 1.0), builders.failed(1, 1.0), builders.released(1, 1.0)):
        data = json.loads(of(event).data)
        assert not set(data) & set(HIDDEN)
        assert data["requestId"] == ID
        assert data["type"] == type(event).__name__


def test_the_jobs_parameters_are_shown() -> None:
    assert json.loads(of(builders.submitted()).data)["job"]["prompt"] == builders.JOB.prompt


def test_address_and_path_of_a_video_follow_from_the_job() -> None:
    data = json.loads(of(replace(builders.succeeded(1, 1.0), video_url="http://evil", video_path="/etc")).data)
    assert (data["video_url"], data["video_path"]) == (f"/videos/{ID}.mp4", f"generated_videos/{ID}.mp4")


@pytest.mark.parametrize(
    ("event", "kind", "ends"),
    [
        (builders.submitted(), "submitted", False),
        (builders.stage(1, 1.0, 0.5), "stage", False),
        (replace(builders.stage(1, 1.0, 0.5), done=0.5), "progress", False),
        (builders.step(1, 1.0, 1, 0.5), "step", False),
        (builders.succeeded(1, 1.0), "succeeded", True),
        (builders.failed(1, 1.0), "failed", True),
        (builders.cancelled(1.0), "cancelled", True),
    ],
)
def test_the_kind_is_the_last_word_of_the_subject(event: Event, kind: str, ends: bool) -> None:
    found = of(event)
    assert (found.kind, found.ends) == (kind, ends)
    assert found.as_sse == b"id: 7\nevent: %s\ndata: %s\n\n" % (kind.encode(), found.data)
    assert json.loads(found.as_frame) == {"id": 7, "event": kind, "data": json.loads(found.data)}


def test_an_ending_that_cannot_be_read_is_an_ending_all_the_same() -> None:
    found = shown(Stored(f"video.events.{ID}.finished.exploded", 7, b"{", 5.0))
    assert found is not None
    assert (found.kind, found.ends) == ("exploded", True)
    assert json.loads(found.data) == {"type": "EndingUnknown", "requestId": ID, "at": 5.0}


@pytest.mark.parametrize("data", [b"{", b"", b"\xff", b'{"type":"Strange"}'])
def test_another_message_that_cannot_be_read_is_not_shown(data: bytes) -> None:
    assert shown(Stored(f"video.events.{ID}.step", 7, data, 5.0)) is None


def test_no_value_can_break_out_of_its_line() -> None:
    event = replace(builders.failed(1, 1.0), reason="a\r\n\r\nevent: forged\u2028\n\n")
    block = of(event).as_sse
    assert block.count(b"\n") == 4
    assert b"\r" not in block
    odd = shown(Stored(f"video.events.{ID}.finished.a:b", 7, b"{", 5.0))
    assert odd is not None
    assert odd.kind == "unknown"
