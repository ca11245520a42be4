"""Makes a video of one picture on a stack of its own: `python -m ops.local.demo [PICTURE] [PROMPT]` (`just demo`).

The stack has free ports and a folder of its own, so that it cannot collide with another stack. The demo speaks to it
through the public HTTP API, and ends it when the video is there.
"""

import os
import signal
import sys

if __name__ == "__main__":  # before the imports below, some of which would swallow KeyboardInterrupt
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # ops.local.die_with_parent may have held one back

import time
from io import TextIOWrapper
from typing import cast

import msgspec
from msgspec import Struct

from contracts.bounds import Ranks
from contracts.process import env, start
from contracts.status import JobStatus
from ops.local.arguments import Arguments, parse_arguments
from ops.local.contact_sheet import contact_sheet
from ops.local.http import ask
from ops.local.paths import REPOSITORY, RUNTIME, short
from ops.local.signals import exit_on_signals
from ops.local.stack import on_free_ports
from ops.local.submission import POCKET, STEPS, Model, model_of, request, submit
from ops.local.supervisor import running
from ops.local.vocabulary import asks_for_motion

FOLDER = RUNTIME / "demo"
VIDEOS = REPOSITORY / "generated_videos"
POCKET_PARAMETERS = 10_400_000
JOB_WITHIN_S = 1800.0
SILENT_WITHIN_S = 30.0  # supervisord has restarted a killed edge by then
POLL_S = 0.2
ASKED_BY = "127.0.0.1"
"""The only host that the demo's own edge serves, whatever `ALLOWED_HOSTS` says for others; nor does it ask for keys."""

NOTHING_ASKED = (
    "note: no word of the prompt asks for a motion that the pocket model knows (pan, zoom, turn, hold still),"
    " so its motion is left to chance, most often a slow zoom in;"
    ' try "zoom out", "the camera pans to the left" or 镜头向左移动'
)
ABOUT_POCKET = (
    f"This was the model {POCKET}, {POCKET_PARAMETERS / 1e6:.1f} million parameters, which comes along to try the"
    " service: it knows camera motions only (pan, zoom, turn, hold still), and blurs what it moves.\n"
    "For real videos give a Wan2.1 image-to-video checkpoint: MODEL_CKPT_DIR=/path/to/Wan2.1-I2V-14B-720P just demo"
)


class Settings(Struct, frozen=True):
    """The environment variables of the demo: how many ranks run the model."""

    ranks: Ranks = 2


def note_on(prompt: str, model: Model) -> str | None:
    """Return a note for the user if the pocket model knows no motion that the prompt asks for, else None."""
    return NOTHING_ASKED if model.is_pocket and not asks_for_motion(prompt) else None


def follow(url: str, job_id: str) -> JobStatus:
    """Show the job's progress until it ends, and return its last status.

    Ends the process if the job has not ended after `JOB_WITHIN_S`, or as `status_of` does.
    """
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
    """Return the job's status; ask again while the edge is away, as during a restart.

    Ends the process if no status comes for `SILENT_WITHIN_S`.
    """
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
    """Return one short line that says how far a job is: percent, and its place in the queue, its stage or ending."""
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
    """A progress line: overwritten in place on a terminal; elsewhere each change is printed as a new line."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = ""

    def show(self, text: str) -> None:
        """Show the text, unless it is the one shown last."""
        if text != self._last:
            print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", flush=True)
            self._last = text

    def end(self) -> None:
        """End the line on a terminal, so that the next print begins a new one."""
        if self._terminal:
            print()


def main() -> None:
    """Run the demo from the command line to the contact sheet. Ends the process with a sentence if a step fails."""
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")  # for characters that the locale cannot write
    wanted = parse_arguments(sys.argv[1:])
    try:
        request(wanted.picture, wanted.prompt)  # before a stack starts for what the service would refuse
    except ValueError as error:
        raise SystemExit(str(error)) from error
    with start.refusing("demo"):
        settings = env.read(Settings)
    exit_on_signals()
    began = time.monotonic()
    stack = on_free_ports(
        FOLDER,
        ranks=settings.ranks,
        video_store_url=str(VIDEOS),
        scratch_store_url=str(FOLDER / "scratch"),
        extra={"ALLOWED_HOSTS": ASKED_BY, "AUTH": "off"},
    )
    with running(stack, afresh=True):
        ready = time.monotonic()
        model = model_of(stack.url)
        if note := note_on(wanted.prompt, model):
            print(note, flush=True)
        ended = follow(stack.url, submit(stack.url, request(wanted.picture, wanted.prompt, model)))
        done = time.monotonic()
    print(f"set-up took {ready - began:.1f} s, the job {done - ready:.1f} s")
    show(wanted, model, ended)


def show(wanted: Arguments, model: Model, ended: JobStatus) -> None:
    """Draw the contact sheet beside the video; print the facts, and the paths of both.

    Ends the process if the job failed.
    """
    if ended.status != "Succeed" or ended.results is None:
        raise SystemExit(f"{ended.status}: {ended.reason or 'no reason was given'}")
    made = ended.results
    facts = f"{made.width}x{made.height}, {made.num_frames} frames, {made.duration:.1f} s"
    video = REPOSITORY / made.video_path
    sheet = video.with_suffix(".png")
    contact_sheet(video, wanted.prompt, f"{wanted.name}, {facts}, model {model.model}").save(sheet)
    print(f"{facts}, {made.size_bytes} bytes")
    print(short(video))
    print(short(sheet))
    if model.is_pocket:
        print(ABOUT_POCKET)


if __name__ == "__main__":
    main()
