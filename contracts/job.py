"""A job: what a client may ask for, and every limit on it. Knows no broker, no HTTP, no model."""

import math
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.bounds import RANKS_MAX, STEPS_MAX
from contracts.words import form

FPS = 16
SIDE_MULTIPLE = 16  # VAE stride 8 times patch size 2: what a video's sides are multiples of
SEED_MAX = 2**31 - 1
SIZES_480P = ("832*480", "480*832")
SHIFT, SHIFT_480P = 5.0, 3.0
JOB_ID_CHARS = 32
VIDEO_SUFFIX = ".mp4"
INPUTS, CHECKPOINTS = (
    "inputs",
    "checkpoints",
)  # the folders of the scratch store: all in them is of use to one job alone

_JOB_ID = "[0-9a-f]{32}"
JobId = Annotated[str, Meta(pattern=rf"^{_JOB_ID}\Z")]
PROMPT_WEIGHT_MIN, PROMPT_CHARS_MAX = 10, 500
WIDE_WEIGHT = 3
"""What a Chinese, Japanese or Korean character counts towards the minimum: it says as much as a few Latin letters."""
PROMPT_RULE = (
    f"text from {PROMPT_WEIGHT_MIN} to {PROMPT_CHARS_MAX} characters, of which a Chinese, Japanese or Korean one "
    f"counts as {WIDE_WEIGHT} towards the {PROMPT_WEIGHT_MIN}"
)
_PROMPT_CHARS_MIN = math.ceil(PROMPT_WEIGHT_MIN / WIDE_WEIGHT)
Prompt = Annotated[str, Meta(min_length=_PROMPT_CHARS_MIN, max_length=PROMPT_CHARS_MAX)]
NegativePrompt = Annotated[str, Meta(max_length=500)]
ImageSize = Annotated[
    str,
    Meta(pattern=r"^[1-9][0-9]{1,3}\*[1-9][0-9]{1,3}\Z", extra=form("W*H in pixels, such as 1280*720")),
]
AUTO = "auto"
"""Of a model's sizes the one whose aspect is nearest to the picture's."""
AskedSize = Annotated[
    str,
    Meta(
        pattern=r"^(auto|[1-9][0-9]{1,3}\*[1-9][0-9]{1,3})\Z",
        extra=form("W*H in pixels, such as 1280*720, or auto"),
    ),
]
SAME_RESOLUTION = (0.8, 1.25)
"""How far the pixels of two sizes may differ that are of one resolution."""
Seed = Annotated[int, Meta(ge=0, le=SEED_MAX)]
Solver = Literal["unipc", "dpm++", "euler"]
Degree = Annotated[int, Meta(ge=1, le=RANKS_MAX)]
Shift = Annotated[float, Meta(ge=0.1, le=10.0)]
CacheStep = Annotated[int, Meta(ge=0, le=STEPS_MAX)]
InputTag = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]


class Generation(Struct, frozen=True, kw_only=True):
    """What a request and a job share. A field left UNSET is the cluster's to choose."""

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

    @property
    def guided(self) -> bool:
        """At exactly 1 the guided prediction is the conditional one: the second pass would be for nothing."""
        return self.guidance_scale != 1.0


class JobRequest(Generation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a submission."""

    image_url: str
    num_frames: Annotated[int, Meta(ge=24, le=120)] = 81
    seed: Seed | None = None


class Job(Generation, frozen=True, kw_only=True):
    """A request with its draws and roundings made: two runs of one `Job` give the same video.

    The image is not in it: it lies, checked and normalised, in the scratch store under `input_name`.
    """

    num_frames: Annotated[int, Meta(ge=25, le=121)]
    seed: Seed


def accept(request: JobRequest, *, seed: int) -> Job:
    """The job that a request becomes; `seed` is used where the request left it open."""
    shared = {name: getattr(request, name) for name in Generation.__struct_fields__}
    return Job(
        **shared,
        num_frames=whole_frames(request.num_frames),
        seed=seed if request.seed is None else request.seed,
    )


# By blocks of Unicode: ideographs with their radicals, marks and extensions, also those that later versions will fill;
# kana, Bopomofo and Hangul, letters (jamo) and half-width forms too. Punctuation and sound marks are none.
_WIDE = re.compile(
    "["
    "\u1100-\u115e\u1161-\u11ff\ua960-\ua97f\uac00-\ud7ff\u3131-\u3163\u3165-\u318e\uffa1-\uffdc"  # Hangul
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f"  # kana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # ideographs
    "\U00016fe2-\U00016ff6\U0001f200-\U0001f202\U0001f210-\U0001f23b\U00020000-\U0003ffff"
    "]"
)


def is_prompt(text: str) -> bool:
    """Return whether a text keeps `PROMPT_RULE`. White space around a prompt is to be cut off before."""
    return len(text) <= PROMPT_CHARS_MAX and prompt_weight(text) >= PROMPT_WEIGHT_MIN


def prompt_weight(prompt: str) -> int:
    """Return what a prompt counts towards `PROMPT_WEIGHT_MIN`, however its characters are composed."""
    composed = unicodedata.normalize("NFC", prompt[:PROMPT_CHARS_MAX])
    return len(composed) + (WIDE_WEIGHT - 1) * len(_WIDE.findall(composed))


def whole_frames(asked: int) -> int:
    """The nearest 4n+1 frames, ties up: the causal VAE makes one frame and then four at a time."""
    return 4 * ((asked + 1) // 4) + 1


def parse_size(image_size: str) -> tuple[int, int]:
    """`"W*H"` as (width, height) in pixels."""
    width, height = image_size.split("*")
    return int(width), int(height)


def nearest_size(sizes: Iterable[str], default_size: str, image_width: int, image_height: int) -> str:
    """Return the size that `auto` means for a picture: of those at the default's resolution the nearest in aspect.

    Of two that are as near (a square picture), the default is taken.
    """
    pixels = math.prod(parse_size(default_size))
    low, high = SAME_RESOLUTION

    def distance(size: str) -> tuple[float, bool]:
        width, height = parse_size(size)
        return round(abs(math.log(width * image_height / (height * image_width))), 6), size != default_size

    candidates = [size for size in sizes if low <= math.prod(parse_size(size)) / pixels <= high]
    return min(candidates, key=distance, default=default_size)


def cropped_share(width: int, height: int, image_width: int, image_height: int) -> float:
    """Return which share of a picture is cut off where it covers a video of this size, from 0 to 1."""
    aspects = sorted((width * image_height, height * image_width))
    return round(1 - aspects[0] / aspects[1], 4)


def output_size(image_size: str, keep_aspect: bool, image_width: int, image_height: int) -> tuple[int, int]:
    """Width and height of the video in pixels.

    With `keep_aspect`, `image_size` gives the area and the image the aspect, both sides rounded down to a multiple
    of 16, as upstream Wan2.1 has it (`wan/image2video.py`).
    """
    width, height = parse_size(image_size)
    if not keep_aspect:
        return width, height
    aspect = image_height / image_width
    return _whole_side(math.sqrt(width * height / aspect)), _whole_side(math.sqrt(width * height * aspect))


def shift_of(job: Generation, image_size: str, of_card: float | None = None) -> float:
    """Return the shift of the noise schedule: the job's own, or else the model's card's, or else the size's.

    `image_size` is the one that the job is made at, `"W*H"`, also if it only gives the area. Source of the sizes'
    shifts: `generate.py` of Wan-Video/Wan2.1, which goes by `--size` too.
    """
    if job.sample_shift is not UNSET:
        return job.sample_shift
    if of_card is not None:
        return of_card
    return SHIFT_480P if image_size in SIZES_480P else SHIFT


def _whole_side(side: float) -> int:
    return max(SIDE_MULTIPLE, int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE)


def input_name(job_id: str, tag: str | None = None) -> str:
    """Return the name of a job's input picture in the scratch store.

    Several submissions may mean one job id: those under one idempotency key. Each of them writes a file of its own,
    told apart by `tag` (8 hexadecimal digits), so that a refused submission can take its picture away and never
    touches the picture of an accepted one.
    """
    return f"{INPUTS}/{job_id}.png" if tag is None else f"{INPUTS}/{job_id}-{tag}.png"


def is_job_id(text: str) -> bool:
    """Whether it is one of ours; a subject may have anything in its place."""
    return re.fullmatch(_JOB_ID, text) is not None


def job_id_in(file_name: str) -> str:
    """The job that a file of a store belongs to."""
    return PurePath(file_name).name[:JOB_ID_CHARS]


def video_name(job_id: str) -> str:
    return job_id + VIDEO_SUFFIX


def video_url(job_id: str) -> str:
    return f"/videos/{job_id}.mp4"


def video_path(job_id: str) -> str:
    return f"generated_videos/{job_id}.mp4"
