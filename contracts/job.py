"""A job: the fields that a client may ask for, with every limit on them, and what follows from them.

The edge decodes a request and makes a job of it; clusters run the job. The sizes of a video, its frames, the shift of
its schedule and the names of its files follow from the job here, so that edge and clusters agree. Pure.
"""

import math
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.bounds import RANKS_MAX, STEPS_MAX
from contracts.labels import Metadata, ModelName, WebhookUrl
from contracts.prompt import NegativePrompt, Prompt
from contracts.words import form

FPS = 16
SIDE_MULTIPLE = 16  # VAE stride 8 times patch size 2: what a video's sides are multiples of
SEED_MAX = 2**31 - 1
SIZES_480P = ("832*480", "480*832")
SHIFT, SHIFT_480P = 5.0, 3.0
JOB_ID_CHARS = 32
VIDEO_SUFFIX = ".mp4"
INPUTS, CHECKPOINTS = "inputs", "checkpoints"  # folders of the scratch store, whose files are each of use to one job

_JOB_ID = "[0-9a-f]{32}"
JobId = Annotated[str, Meta(pattern=rf"^{_JOB_ID}\Z")]
_SIZE = r"[1-9][0-9]{1,3}\*[1-9][0-9]{1,3}"
ImageSize = Annotated[str, Meta(pattern=rf"^{_SIZE}\Z", extra=form("W*H in pixels, such as 1280*720"))]
AUTO = "auto"
"""The value of `image_size` for the model's size whose aspect is nearest to the picture's."""
AskedSize = Annotated[str, Meta(pattern=rf"^(auto|{_SIZE})\Z", extra=form("W*H in pixels, such as 1280*720, or auto"))]
SAME_RESOLUTION = (0.8, 1.25)
"""The least and the greatest ratio of the pixels of two sizes that count as one resolution."""
Seed = Annotated[int, Meta(ge=0, le=SEED_MAX)]
Solver = Literal["unipc", "dpm++", "euler"]
Degree = Annotated[int, Meta(ge=1, le=RANKS_MAX)]
Shift = Annotated[float, Meta(ge=0.1, le=10.0)]
CacheStep = Annotated[int, Meta(ge=0, le=STEPS_MAX)]
InputTag = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]


class Generation(Struct, frozen=True, kw_only=True):
    """The fields that a request and a job share. The cluster chooses the value of a field left UNSET."""

    prompt: Prompt
    negative_prompt: NegativePrompt | None = None
    image_size: AskedSize | None = None
    keep_aspect: bool = False
    guidance_scale: Annotated[float, Meta(ge=1.0, le=20.0)] = 3.0
    infer_steps: Annotated[int, Meta(ge=20, le=100)] = 30
    sample_solver: Solver = "unipc"
    sample_shift: Shift | UnsetType = UNSET
    ulysses_size: Degree | UnsetType = UNSET
    cfg_size: Annotated[int, Meta(ge=1, le=2)] | UnsetType = UNSET
    dit_fsdp: bool | UnsetType = UNSET
    t5_fsdp: bool | UnsetType = UNSET
    vae_parallel: bool | UnsetType = UNSET
    use_attentioncache: bool = False
    start_step: CacheStep = 12
    attentioncache_interval: Annotated[int, Meta(ge=1, le=STEPS_MAX)] = 4
    end_step: Annotated[int, Meta(ge=1, le=STEPS_MAX)] = 37
    model: ModelName | UnsetType = UNSET

    @property
    def guided(self) -> bool:
        """Return whether a step needs a second, unconditional pass; at a scale of exactly 1 both passes are equal."""
        return self.guidance_scale != 1.0


class JobRequest(Generation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a submission."""

    image_url: Annotated[str, Meta(min_length=1)]
    num_frames: Annotated[int, Meta(ge=24, le=120)] = 81
    seed: Seed | None = None
    metadata: Metadata | UnsetType = UNSET
    webhook_url: WebhookUrl | UnsetType = UNSET


class Job(Generation, frozen=True, kw_only=True):
    """A request with its draws and roundings made: two runs of the same `Job` give the same video.

    The image is not a field: it lies, checked and normalised, in the scratch store under `input_name`.
    """

    num_frames: Annotated[int, Meta(ge=25, le=121)]
    seed: Seed


def job_of(request: JobRequest, *, seed: int) -> Job:
    """Return the job that a request becomes: frames rounded by `whole_frames`, and `seed` if the request has none."""
    shared = {name: getattr(request, name) for name in Generation.__struct_fields__}
    drawn = seed if request.seed is None else request.seed
    return Job(**shared, num_frames=whole_frames(request.num_frames), seed=drawn)


def whole_frames(asked: int) -> int:
    """Return the nearest 4n+1 frames, ties up: the causal VAE makes one frame and then four at a time."""
    return 4 * ((asked + 1) // 4) + 1


def parse_size(image_size: str) -> tuple[int, int]:
    """Return `"W*H"`, which is not `auto`, as (width, height) in pixels."""
    width, height = image_size.split("*")
    return int(width), int(height)


def nearest_size(sizes: Iterable[str], default_size: str, image_width: int, image_height: int) -> str:
    """Return the size that `auto` means for a picture: the size at the default's resolution that is nearest in aspect.

    Sizes are `"W*H"`; those whose pixels are not within `SAME_RESOLUTION` of the default's do not count. If two sizes
    are equally near (a square picture), or none counts, the default wins.
    """
    pixels = math.prod(parse_size(default_size))
    low, high = SAME_RESOLUTION

    def distance(size: str) -> tuple[float, bool]:
        width, height = parse_size(size)
        return round(abs(math.log(width * image_height / (height * image_width))), 6), size != default_size

    candidates = [size for size in sizes if low <= math.prod(parse_size(size)) / pixels <= high]
    return min(candidates, key=distance, default=default_size)


def cropped_share(width: int, height: int, image_width: int, image_height: int) -> float:
    """Return the share of a picture, from 0 to 1, that is cut off if the picture covers a video of this size."""
    aspects = sorted((width * image_height, height * image_width))
    return round(1 - aspects[0] / aspects[1], 4)


def output_size(image_size: str, keep_aspect: bool, image_width: int, image_height: int) -> tuple[int, int]:
    """Return width and height of the video in pixels. `image_size` is `"W*H"` and not `auto`.

    With `keep_aspect`, `image_size` gives the area and the image the aspect, both sides rounded down to a multiple
    of 16 and at least 16, as upstream Wan2.1 has it (`wan/image2video.py`).
    """
    width, height = parse_size(image_size)
    if not keep_aspect:
        return width, height
    aspect = image_height / image_width
    return _whole_side(math.sqrt(width * height / aspect)), _whole_side(math.sqrt(width * height * aspect))


def shift_of(job: Generation, image_size: str, of_card: float | None = None) -> float:
    """Return the shift of the noise schedule: the job's own, or else `of_card`, the model card's, or else the size's.

    `image_size` is the size that the job is made at, `"W*H"`, also if the size only gives the area. Source of the
    sizes' shifts: `generate.py` of Wan-Video/Wan2.1, which goes by `--size` too.
    """
    if job.sample_shift is not UNSET:
        return job.sample_shift
    if of_card is not None:
        return of_card
    return SHIFT_480P if image_size in SIZES_480P else SHIFT


def _whole_side(side: float) -> int:
    """Return a side in pixels rounded down to a multiple of `SIDE_MULTIPLE`, and at least that."""
    return max(SIDE_MULTIPLE, int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE)


def input_name(job_id: str, tag: str | None = None) -> str:
    """Return the name of a job's input picture in the scratch store.

    Submissions under the same idempotency key have the same job id. Each of them writes its own file, told apart by
    `tag` (8 hexadecimal digits), so that a refused submission can delete its picture and never touches the picture of
    the accepted submission.
    """
    return f"{INPUTS}/{job_id}.png" if tag is None else f"{INPUTS}/{job_id}-{tag}.png"


def is_job_id(text: str) -> bool:
    """Return whether a text is a job id, such as a token of a subject, where anybody may have published anything."""
    return re.fullmatch(_JOB_ID, text) is not None


def job_id_in(file_name: str) -> str:
    """Return the id of the job that a file of a store belongs to: the first 32 characters of its name, unchecked."""
    return PurePath(file_name).name[:JOB_ID_CHARS]


def video_name(job_id: str) -> str:
    """Return the name of a job's video in the store of videos."""
    return job_id + VIDEO_SUFFIX


def video_url(job_id: str) -> str:
    """Return the path of a job's video on the edge, as answers have it."""
    return f"/videos/{job_id}.mp4"


def video_path(job_id: str) -> str:
    """Return the `video_path` of answers: the place of the video in the default folder, whatever the store."""
    return f"generated_videos/{job_id}.mp4"
