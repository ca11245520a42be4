"""JSON Schemas of the structs that the edge reads and writes, for the OpenAPI document.

Types, limits and defaults come from the structs, the meanings of fields from `field_docs`.
"""

from typing import Any

import msgspec
from msgspec import Struct

from contracts import json_schema
from contracts.job import JobRequest
from contracts.prompt import PROMPT_CHARS_MIN
from contracts.status import DELETED
from services.edge.body.members import SOLVER_ALIASES
from services.edge.docs.field_docs import MEANINGS
from services.edge.image.data_uri import DATA_URI_CHARS_MAX
from services.edge.payloads import Ask

Json = dict[str, Any]


def schemas() -> Json:
    """Return the schema of every struct in `MEANINGS`, by the struct's name."""
    found = json_schema.schemas(list(MEANINGS), "#/components/schemas/{name}")
    return {struct.__name__: _described(struct, found[struct.__name__]) for struct in MEANINGS}


def schema(kind: Any) -> Json:
    """Return the schema of a type that is not a struct."""
    return json_schema.portable(msgspec.json.schema(kind))


def ref(struct: type[Struct]) -> Json:
    """Return a reference to a struct's schema."""
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _described(struct: type[Struct], schema: Json) -> Json:
    """Return a struct's schema with its fields' meanings, as it is submitted or answered.

    The struct's docstring, which is for developers, is left out.
    """
    properties: dict[str, Json] = schema["properties"]
    for name, meaning in MEANINGS[struct].items():
        properties[name] = {**_of_shown_jobs(properties[name]), "description": meaning}
    described = {**schema, "properties": properties}
    described.pop("description", None)
    if struct is JobRequest:
        return _as_submitted(described)
    return described if struct is Ask or struct.__struct_config__.omit_defaults else _as_answered(described)


def _of_shown_jobs(schema: Json) -> Json:
    """Return a field's schema without the state `DELETED`: no answer has a job in it."""
    values = schema.get("enum", ())
    return {**schema, "enum": [value for value in values if value != DELETED]} if DELETED in values else schema


def _as_submitted(schema: Json) -> Json:
    """Return the schema of a submission with what the parser accepts beyond the struct: `data:`, aliases, null.

    The schema's own properties are changed in place.
    """
    properties: dict[str, Json] = schema["properties"]
    properties["image_url"]["maxLength"] = DATA_URI_CHARS_MAX
    properties["prompt"]["minLength"] = PROMPT_CHARS_MIN
    properties["sample_solver"]["enum"] = [*properties["sample_solver"]["enum"], *SOLVER_ALIASES]
    required: list[str] = schema["required"]
    return {
        **schema,
        "properties": {name: one if name in required else or_null(one) for name, one in properties.items()},
    }


def or_null(schema: Json) -> Json:
    """Return the schema of a field that may be null as well, which counts as left out."""
    if "anyOf" in schema:
        has_null = any(one.get("type") == "null" for one in schema["anyOf"])
        return schema if has_null else {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _as_answered(schema: Json) -> Json:
    """Return the schema of an answer: every field is required. Defaults are removed from its properties in place."""
    properties: dict[str, Json] = schema["properties"]
    for one in properties.values():
        one.pop("default", None)
    return {**schema, "required": list(properties)}
