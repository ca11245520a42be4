"""The schema of a request for a video on `/v1/videos`, in JSON and as a form, for the OpenAPI document.

Its fields, and most of their types, are those that the parser reads by. A test holds that document and parser take the
same values.
"""

import msgspec

from contracts import json_schema
from contracts.job import FPS, JobRequest
from contracts.labels import METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX
from contracts.prompt import PROMPT_CHARS_MAX
from services.edge.body.references import PICTURES, REFERENCE
from services.edge.body.video_fields import EXTRAS, FIELDS, OWN, SWITCHES, UNSUPPORTED, WITHOUT_EFFECT
from services.edge.docs.schema import Json, or_null

_OF_JOB = "#/components/schemas/JobRequest/properties/"
_EXTRAS = "VideoExtras"
ABOUT = (
    "The fields of `/video/submit` are taken too, under their own names, beside these or in `extra_params`. `user`, "
    f"`quality` and others without effect are ignored ({', '.join(WITHOUT_EFFECT)}); what would change the pixels in a "
    f"way that this model does not know is refused ({', '.join(UNSUPPORTED)}), and so is every other name."
)
_MEANINGS = {
    "seconds": f"The length: {FPS} frames a second, and one more, made 4n+1. `num_frames` wins over it.",
    "size": "Such as `832x480`, or `auto`, which is what it is if left out. It wins over all other sizes.",
    "width": "With `height`, instead of `size`.",
    "height": "With `width`, instead of `size`.",
    "fps": "The only one there is.",
    "n": "One video for each request.",
    "num_outputs_per_prompt": "One video for each request.",
}

_METADATA_PART = {
    rf"^metadata\[[^\[\]]{{1,{METADATA_KEY_CHARS_MAX}}}\]$": {"type": "string", "maxLength": METADATA_VALUE_CHARS_MAX}
}
_ABOUT_PICTURE = (
    "The picture: an `http`, `https` or `data:` address, an object with it as `image_url`, or a list of one of these. "
    f"One of {', '.join(PICTURES)}, which are names of the same."
)
_ABOUT_PART = f"The picture's file, or its address; `{REFERENCE}[image_url]` is the address too."


def video_schemas() -> Json:
    """Return the schemas that those of requests refer to, by their names."""
    meaning = "Fields that count as members of the request, unless they stand there too."
    return {_EXTRAS: {"description": meaning, **_closed(_fields(_picture()))}}


def json_schema_of_video() -> Json:
    """Return the schema of a request in JSON."""
    return _request(_picture())


def form_schema() -> Json:
    """Return the schema of a request as a form: the same, with the picture as a file."""
    request = _request({"description": _ABOUT_PART, "type": ["string", "null"], "format": "binary"})
    members = "|".join((*EXTRAS, *PICTURES, *WITHOUT_EFFECT))
    return {**request, "patternProperties": {**_METADATA_PART, rf"^({members})\[[^\[\]]*\]$": {"type": "string"}}}


def _picture() -> Json:
    """Return the schema of a picture in JSON."""
    address = {"type": "string", "minLength": 1}
    one = [address, {"type": "object", "properties": {"image_url": address}, "required": ["image_url"]}]
    several = {"type": "array", "items": {"anyOf": one}, "minItems": 1, "maxItems": 1}
    return {"description": _ABOUT_PICTURE, "anyOf": [*one, several, {"type": "null"}]}


def _fields(picture: Json) -> Json:
    """Return the schemas of all fields but `EXTRAS`, by their names; null counts as left out."""
    none_or_guided = [{"const": 0}, {"$ref": f"{_OF_JOB}guidance_scale"}]
    text = {"type": ["string", "null"], "minLength": 1, "maxLength": PROMPT_CHARS_MAX}
    return {
        **dict.fromkeys(PICTURES, picture),
        **{name: {"$ref": _OF_JOB + field} for name, field in FIELDS.items()},
        "prompt": {**text, "description": "What is to be seen."},
        "guidance_scale": {"anyOf": none_or_guided, "description": "0 and 1: no second pass."},
        **{name: {**or_null(_schema(kind)), "description": _MEANINGS[name]} for name, kind in OWN.items()},
        **{name: {"enum": [False, None], "description": "Can be off alone."} for name in SWITCHES},
        **{name: {"description": "Without effect."} for name in WITHOUT_EFFECT},
        **{name: {"type": "null", "description": "Not supported here."} for name in UNSUPPORTED},
    }


def _schema(kind: object) -> Json:
    """Return the schema of a type of `OWN`."""
    return json_schema.portable(msgspec.json.schema(kind))


def _closed(properties: Json) -> Json:
    """Return the schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _request(picture: Json) -> Json:
    """Return the schema of a request, with that of the picture: prompt and picture are there, or an object of extras.

    Which of them the text of such an object holds, a schema cannot say.
    """
    extras = {
        "description": "An object, also as text: its members count as fields.",
        "anyOf": [{"$ref": f"#/components/schemas/{_EXTRAS}"}, {"type": "string", "minLength": 2}, {"type": "null"}],
    }
    pictured = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in PICTURES]
    whole = {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}, "anyOf": pictured}
    with_extras = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in EXTRAS]
    return {**_closed({**_fields(picture), **dict.fromkeys(EXTRAS, extras)}), "anyOf": [whole, *with_extras]}


def job_form_schema() -> Json:
    """Return the schema of a submission to `/video/submit` as a form: its fields as parts, and the picture's file."""
    properties: Json = {name: {"$ref": _OF_JOB + name} for name in JobRequest.__struct_fields__}
    properties["image"] = {"type": "string", "format": "binary", "description": "The picture, instead of `image_url`."}
    return {**_closed(properties), "required": ["prompt"], "patternProperties": _METADATA_PART}
