"""The schema of a request for a video on `/v1/videos`, in JSON and as a form, for the OpenAPI document.

Written out, since the request is no struct: other servers' names and forms are many. A test holds that the parser knows
every name in it.
"""

from contracts.job import FPS, JobRequest
from contracts.prompt import PROMPT_CHARS_MAX
from services.edge.body.video_submission import EXTRAS, UNSUPPORTED, WITHOUT_EFFECT
from services.edge.docs.schema import Json

_OF_JOB = "#/components/schemas/JobRequest/properties/"
_NUMBER_OR_TEXT = ["number", "string"]
_SAME = ("num_frames", "seed", "negative_prompt", "model", "metadata")
"""Fields that are those of `/video/submit`."""
ABOUT = (
    "The fields of `/video/submit` are taken too, under their own names, beside these or in `extra_params`. `user`, "
    f"`quality` and others without effect are ignored ({', '.join(WITHOUT_EFFECT)}); what would change the pixels in a "
    f"way that this model does not know is refused ({', '.join(UNSUPPORTED)}), and so is every other name."
)


def json_schema() -> Json:
    """Return the schema of a request in JSON."""
    reference = {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"]}
    picture = {
        "description": "The picture: an `http`, `https` or `data:` address, or an object with it as `image_url`. Other "
        "names of the same are `reference_url`, `image_reference` and `image_url`.",
        "anyOf": [{"type": "string"}, reference],
    }
    return _request(picture)


def form_schema() -> Json:
    """Return the schema of a request as a form: the same, with the picture as a file."""
    picture = {
        "description": "The picture's file, or its address; `input_reference[image_url]` is the address too.",
        "type": "string",
        "format": "binary",
    }
    return _request(picture)


def _request(picture: Json) -> Json:
    """Return the schema of a request, with that of the picture."""
    properties: Json = {
        "prompt": {
            "type": "string",
            "minLength": 1,
            "maxLength": PROMPT_CHARS_MAX,
            "description": "What is to be seen.",
        },
        "input_reference": picture,
        "seconds": {
            "type": _NUMBER_OR_TEXT,
            "description": f"The length: {FPS} frames a second, and one more, made 4n+1. `num_frames` wins over it.",
        },
        "size": {"type": "string", "description": "Such as `832x480`, or `auto`, which is what it is if left out."},
        "width": {"type": "integer", "description": "With `height`, instead of `size`."},
        "height": {"type": "integer", "description": "With `width`, instead of `size`."},
        "fps": {"type": "number", "const": FPS, "description": "The only one there is."},
        "num_inference_steps": {"$ref": f"{_OF_JOB}infer_steps"},
        "guidance_scale": {"type": "number", "minimum": 0, "maximum": 20, "description": "0 and 1: no second pass."},
        "flow_shift": {"$ref": f"{_OF_JOB}sample_shift"},
        "n": {"type": "integer", "const": 1, "description": "One video for each request."},
        **{name: {"$ref": _OF_JOB + name} for name in _SAME},
        **{name: {"type": ["object", "string"], "description": "Its members count as fields."} for name in EXTRAS},
    }
    return {"type": "object", "properties": properties, "required": ["prompt", "input_reference"]}


def job_form_schema() -> Json:
    """Return the schema of a submission to `/video/submit` as a form: its fields as parts, and the picture's file."""
    properties: Json = {name: {"$ref": _OF_JOB + name} for name in JobRequest.__struct_fields__}
    properties["image"] = {"type": "string", "format": "binary", "description": "The picture, instead of `image_url`."}
    return {"type": "object", "properties": properties, "required": ["prompt"], "additionalProperties": False}
