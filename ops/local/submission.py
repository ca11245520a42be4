"""Builds the demo's submission to fit the model that the service runs, and submits it. `demo` and the bench call it."""

import base64

import msgspec
from msgspec import Struct

from contracts.job import AUTO
from ops.local.arguments import check_prompt
from ops.local.http import ask
from ops.local.picture_bytes import look

POCKET = "pocket"
POCKET_GUIDANCE = 1.5  # more guidance amplifies the errors of a small model
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
    """The part of the answer to `/health` that is read here."""

    clusters: list[Model] = []


class Accepted(Struct, frozen=True, rename={"job_id": "requestId"}):
    """The answer to an accepted submission."""

    job_id: str


class Refusal(Struct, frozen=True):
    """The part of an error body that is read here."""

    message: str


def request(picture: bytes, prompt: str, model: Model = POCKET_MODEL) -> bytes:
    """Return the JSON body of a submission of `FRAMES` frames and `STEPS` steps, in a size near the picture's aspect.

    The service chooses the size. For the pocket model the guidance is set, too. Raises `ValueError` for a picture or a
    prompt that the service would refuse.
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
    """Return the model of the first cluster. Ends the process if `/health` shows no cluster any more.

    Raises `OSError` if the edge does not answer.
    """
    _, answer = ask(f"{url}/health")
    clusters = msgspec.json.decode(answer, type=Health).clusters
    if not clusters:
        raise SystemExit("the cluster has gone; inference.log says why")
    return clusters[0]


def submit(url: str, body: bytes) -> str:
    """Return the accepted job's id. Ends the process with the service's own words if it refuses.

    Raises `OSError` if the edge does not answer.
    """
    status, answer = ask(f"{url}/video/submit", body)
    if status != 202:
        raise SystemExit(f"the service refused it ({status}): {_words_of(answer)}")
    return msgspec.json.decode(answer, type=Accepted).job_id


def _words_of(answer: bytes) -> str:
    """Return the message of an error body, or the whole body as text if it has none."""
    try:
        return msgspec.json.decode(answer, type=Refusal).message
    except msgspec.DecodeError:
        return answer.decode(errors="replace")
