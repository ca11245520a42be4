"""JSON Schemas of structs, in the terms of JSON Schema: msgspec's are Python's in some places. Pure.

The edge's OpenAPI document and `ops.catalogue` are made with it.
"""

from inspect import cleandoc
from typing import Any, cast

import msgspec

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas(kinds: list[Any], ref_template: str) -> Json:
    """Return the schemas of structs, and of all structs within them, by their names.

    `ref_template` is how one of them names another, such as `#/$defs/{name}`.
    """
    _, found = msgspec.json.schema_components(kinds, ref_template=ref_template)
    return portable(found)


def alone(kind: Any) -> Json:
    """Return the schema of a struct as a document of its own, with the structs within it as `$defs`."""
    found = schemas([kind], "#/$defs/{name}")
    own: Json = found.pop(kind.__name__)
    return {"$schema": DIALECT, **own, **({"$defs": found} if found else {})}


def portable(node: Any) -> Any:
    r"""Return a schema, or any part of one, in the terms of JSON Schema.

    Patterns are of ECMA-262 (`$` for `\Z`), a type stands beside an enum of texts, and descriptions are not indented.
    """
    if isinstance(node, list):
        return [portable(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    made = {name: portable(each) for name, each in cast("Json", node).items()}
    if isinstance(values := made.get("enum"), list) and all(
        isinstance(value, str) for value in cast("list[Any]", values)
    ):
        made = {"type": "string", **made}
    if isinstance(pattern := made.get("pattern"), str):
        made["pattern"] = pattern.replace(r"\Z", "$")
    if isinstance(description := made.get("description"), str):
        made["description"] = cleandoc(description)
    return made
