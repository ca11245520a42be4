"""One picture becomes a video: `python -m ops.demo [PICTURE] [PROMPT]`. A client of the public HTTP API, no more.

It starts a stack of its own, on free ports and in a folder of its own, so that it meets no other one.
"""

import base64
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from contracts import env
from contracts.bounds import Ranks
from contracts.job import Prompt
from contracts.status import JobStatus
from ops.sample import PROMPT, landscape
from ops.sheet import contact_sheet
from ops.stack import REPOSITORY, RUNTIME, ask, end_once, on_free_ports, running, short

FOLDER = RUNTIME / "demo"
VIDEOS = REPOSITORY / "generated_videos"
LANDSCAPE, PORTRAIT = "256*144", "144*256"
FRAMES = 25
STEPS = 20
GUIDANCE = 1.5  # the pocket model needs little
FORMATS = ("PNG", "JPEG", "WEBP")
JOB_WITHIN_S = 1800.0
SILENT_WITHIN_S = 30.0  # a killed edge is back by then
POLL_S = 0.2


class Settings(Struct, frozen=True):
    ranks: Ranks = 2


class Accepted(Struct, rename={"job_id": "requestId"}):
    job_id: str


def request(picture: bytes, prompt: str) -> bytes:
    """The body of the submission; the video lies or stands as the picture does. Raises `ValueError` for bad ones."""
    try:
        msgspec.convert(prompt, Prompt)
    except msgspec.ValidationError as error:
        raise ValueError(f"the prompt has {len(prompt)} characters: {error}") from error
    kind, (width, height) = _look(picture)
    return msgspec.json.encode(
        {
            "prompt": prompt,
            "image_url": f"data:image/{kind};base64,{base64.b64encode(picture).decode()}",
            "image_size": PORTRAIT if height > width else LANDSCAPE,
            "num_frames": FRAMES,
            "infer_steps": STEPS,
            "guidance_scale": GUIDANCE,
        }
    )


def _look(picture: bytes) -> tuple[str, tuple[int, int]]:
    """Kind and size, the right way up."""
    try:
        with Image.open(io.BytesIO(picture), formats=FORMATS) as image:
            return (image.format or "").lower(), ImageOps.exif_transpose(image).size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from error


def sample() -> bytes:
    png = io.BytesIO()
    landscape().save(png, "PNG")
    return png.getvalue()


def submit(url: str, body: bytes) -> str:
    """The accepted job's id; ends the process with the service's own words where it refuses."""
    status, answer = ask(f"{url}/video/submit", body)
    if status != 202:
        raise SystemExit(f"the service refused it ({status}): {answer.decode(errors='replace')}")
    return msgspec.json.decode(answer, type=Accepted).job_id


def follow(url: str, job_id: str) -> JobStatus:
    """Show how the job goes until it has ended, and return how it did."""
    began = time.monotonic()
    line = Line()
    while not (status := status_of(url, job_id)).ended:
        if time.monotonic() - began > JOB_WITHIN_S:
            raise SystemExit(f"the job has not ended within {JOB_WITHIN_S:.0f} s")
        line.show(progress(status))
        time.sleep(POLL_S)
    line.show(progress(status))
    line.end()
    return status


def status_of(url: str, job_id: str) -> JobStatus:
    """The job's status; an edge that is being started again may be away for a while."""
    body = msgspec.json.encode({"requestId": job_id})
    deadline = time.monotonic() + SILENT_WITHIN_S
    while True:
        try:
            code, answer = ask(f"{url}/video/status", body)
        except OSError as error:
            code, answer = 0, str(error).encode()
        if code == 200:
            return msgspec.json.decode(answer, type=JobStatus)
        if time.monotonic() > deadline:
            raise SystemExit(f"no status for {SILENT_WITHIN_S:.0f} s ({code}): {answer.decode(errors='replace')}")
        time.sleep(POLL_S)


def progress(status: JobStatus) -> str:
    """How far a job is, in one short line."""
    percent = f"{100 * status.progress:3.0f} %"
    match status.status:
        case "InQueue":
            return f"{percent}  waiting, number {status.queue_position or 1} in the queue"
        case "InProgress" if status.stage == "denoise":
            return f"{percent}  denoise, step {status.step} of {STEPS}"
        case "InProgress":
            return f"{percent}  {status.stage or 'starting'}"
        case ended:
            return f"{percent}  {ended}"


class Line:
    """One line that is written over on a terminal, and a line a change elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = ""

    def show(self, text: str) -> None:
        if text != self._last:
            print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", flush=True)
            self._last = text

    def end(self) -> None:
        if self._terminal:
            print()


def main() -> None:
    picture, prompt = _arguments(sys.argv[1:])
    try:
        body = request(picture, prompt)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    settings = env.read(Settings)
    end_once()
    began = time.monotonic()
    stack = on_free_ports(
        FOLDER, ranks=settings.ranks, video_store_url=str(VIDEOS), scratch_store_url=str(FOLDER / "scratch")
    )
    with running(stack, afresh=True):
        ready = time.monotonic()
        ended = follow(stack.url, submit(stack.url, body))
        done = time.monotonic()
    if ended.status != "Succeed" or ended.results is None:
        raise SystemExit(f"{ended.status}: {ended.reason or 'no reason was given'}")
    made = ended.results
    print(f"{made.width}x{made.height}, {made.num_frames} frames, {made.duration:.1f} s, {made.size_bytes} bytes")
    print(f"set-up took {ready - began:.1f} s, the job {done - ready:.1f} s")
    video = REPOSITORY / made.video_path
    sheet = video.with_suffix(".png")
    contact_sheet(video).save(sheet)
    print(short(sheet))
    print(short(video))


def _arguments(arguments: Sequence[str]) -> tuple[bytes, str]:
    if len(arguments) > 2:
        raise SystemExit("usage: python -m ops.demo [PICTURE] [PROMPT]")
    path, prompt = [*arguments, "", ""][:2]
    try:
        return Path(path).read_bytes() if path else sample(), prompt or PROMPT
    except OSError as error:
        raise SystemExit(f"no picture can be read at {path} ({error.strerror})") from error


if __name__ == "__main__":
    main()
