"""What the demo asks the service for: the body of one submission, made to fit the model that the service runs."""

import base64

import msgspec
from msgspec import Struct

from contracts.job import AUTO
from ops.local.asked import check_prompt
from ops.local.http import ask
from ops.local.picture_bytes import look

POCKET = "pocket"
POCKET_GUIDANCE = 1.5  # more of it makes what a small model gets wrong worse
FRAMES = 25
STEPS = 20


class Model(Struct, frozen=True):
    """The model of a cluster, as `/health` shows it."""

    model: str

    @property
    def is_pocket(self) -> bool:
        return self.model == POCKET


POCKET_MODEL = Model(POCKET)


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
    """Return the body of the submission, which leaves the size to the service: the one nearest to the picture's aspect.

    Raises `ValueError` for a picture or a prompt that cannot be taken.
    """
    prompt = prompt.strip()
    check_prompt(prompt)
    seen = look(picture)
    body = {
        "prompt": prompt,
        "image_url": f"data:{seen.media_type};base64,{base64.b64encode(picture).decode()}",
        "image_size": AUTO,
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
