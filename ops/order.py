"""What the demo asks the service for: the body of one submission, made to fit the model that the service runs."""

import base64

import msgspec
from msgspec import Struct

from contracts.job import parse_size
from ops.asked import check_prompt
from ops.picture import look, nearest
from ops.stack import ask

POCKET = "pocket"
POCKET_SIZES = ["256*144", "144*256"]
POCKET_GUIDANCE = 1.5  # more of it makes what a small model gets wrong worse
FRAMES = 25
STEPS = 20


class Model(Struct, frozen=True):
    """The model of a cluster, as `/health` shows it."""

    model: str
    sizes: list[str]
    default_size: str

    @property
    def is_pocket(self) -> bool:
        return self.model == POCKET

    @property
    def default_sizes(self) -> list[str]:
        """The sizes with as many pixels as the default one."""
        return [size for size in self.sizes if _area(size) == _area(self.default_size)]


POCKET_MODEL = Model(POCKET, POCKET_SIZES, POCKET_SIZES[0])


class Health(Struct, frozen=True):
    """What matters here of the answer to `/health`."""

    clusters: list[Model] = []


class Accepted(Struct, frozen=True, rename={"job_id": "requestId"}):
    """The answer to an accepted submission."""

    job_id: str


class Refusal(Struct, frozen=True):
    """What matters of every other answer."""

    message: str


def request(picture: bytes, prompt: str, model: Model = POCKET_MODEL) -> bytes:
    """Return the body of the submission; the video has the picture's aspect as nearly as the model's sizes allow.

    Raises `ValueError` for a picture or a prompt that cannot be taken.
    """
    prompt = prompt.strip()
    check_prompt(prompt)
    seen = look(picture)
    body = {
        "prompt": prompt,
        "image_url": f"data:{seen.media_type};base64,{base64.b64encode(picture).decode()}",
        "image_size": nearest(seen, model.default_sizes),
        "num_frames": FRAMES,
        "infer_steps": STEPS,
    }
    return msgspec.json.encode({**body, "guidance_scale": POCKET_GUIDANCE} if model.is_pocket else body)


def model_of(url: str) -> Model:
    """Return the model of the only cluster. Ends the process if there is none any more."""
    _, answer = ask(f"{url}/health")
    clusters = msgspec.json.decode(answer, type=Health).clusters
    if not clusters:
        raise SystemExit("the cluster has gone; inference.log says why")
    return clusters[0]


def submit(url: str, body: bytes) -> str:
    """Return the accepted job's id. Ends the process with the service's own words if it refuses."""
    status, answer = ask(f"{url}/video/submit", body)
    if status != 202:
        raise SystemExit(f"the service refused it ({status}): {_words_of(answer)}")
    return msgspec.json.decode(answer, type=Accepted).job_id


def _words_of(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=Refusal).message
    except msgspec.DecodeError:
        return answer.decode(errors="replace")


def _area(size: str) -> int:
    width, height = parse_size(size)
    return width * height
