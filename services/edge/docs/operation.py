"""The parts of an OpenAPI operation: parameters, bodies, answers and their headers. The path modules compose them."""

from typing import Any

import msgspec
from msgspec import Struct

from services.edge.docs.schema import Json, ref


def operation(name: str, tag: str, summary: str, meaning: str = "") -> Json:
    """Return the head of an operation: its id, its tag, and its summary and meaning in words."""
    return {"operationId": name, "tags": [tag], "summary": summary, **({"description": meaning} if meaning else {})}


def body(struct: type[Struct], examples: dict[str, Json], max_bytes: int) -> Json:
    """Return a request body in JSON: the struct it holds, examples by name, and its limit in bytes."""
    return {
        "required": True,
        "description": (
            f"Up to {max_bytes:,} bytes, without a Content-Encoding. Fields that are not listed are refused by name, "
            "with the one that was probably meant."
        ),
        "content": {"application/json": {"schema": ref(struct), "examples": _named(examples)}},
    }


def form(schema: Json) -> Json:
    """Return the content of a request body that is a form of this schema."""
    return {"multipart/form-data": {"schema": schema}}


def answer(meaning: str, *, headers: tuple[str, ...] = (), **examples: Struct) -> Json:
    """Return an answer in JSON with its examples, at least one, all of one struct, whose schema is the answer's."""
    values = {name: msgspec.to_builtins(example) for name, example in examples.items()}
    shape = ref(type(next(iter(examples.values()))))
    content = {"application/json": {"schema": shape, "examples": _named(values)}}
    return {"description": meaning, "headers": headers_of(*headers), "content": content}


def word(meaning: str, status: str) -> Json:
    """Return an answer in JSON that is always the same: `{"status": status}`."""
    schema = {"type": "object", "properties": {"status": {"const": status}}, "required": ["status"]}
    content = {"application/json": {"schema": schema, "examples": _named({status: {"status": status}})}}
    return {"description": meaning, "headers": headers_of(), "content": content}


def headers_of(*names: str) -> Json:
    """Return references to these headers of an answer, and to `X-Request-Id`, which every answer has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def header(name: str, meaning: str, schema: Json, example: str | None = None) -> Json:
    """Return a request header as a parameter."""
    one = {"name": name, "in": "header", "description": meaning, "schema": schema}
    return one if example is None else {**one, "example": example}


def path(name: str, schema: Json, example: str) -> Json:
    """Return a parameter that is a part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def query(name: str, meaning: str, schema: Json) -> Json:
    """Return a parameter of the query, which may be left out."""
    return {"name": name, "in": "query", "description": meaning, "schema": schema}


def _named(examples: dict[str, Any]) -> Json:
    return {name: {"value": value} for name, value in examples.items()}
