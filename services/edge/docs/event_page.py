"""Render the catalogue of events as a page for people: static HTML of the AsyncAPI document, without any script.

`pages` serves it at `/docs/events` to whoever accepts HTML. Every text of the document is escaped; a word in backticks
becomes code.
"""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

JETSTREAM = "x-wanjet-jetstream"
PLACES = (
    ("live", "live, for whoever is connected"),
    ("log", "in the log, for durable consumers"),
    ("queue", "in the queue, for clusters"),
)
"""Where an event is to be heard: the beginning of its channels' names, and what that means."""
_BOUNDS = (
    ("minimum", "from {}"), ("maximum", "to {}"), ("minLength", "at least {} characters"),
    ("maxLength", "up to {} characters"), ("maxProperties", "up to {} entries"), ("pattern", "as {}"),
)  # fmt: skip
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WanJet: events of jobs</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/events.css">
</head>
<body>
<main>
"""
LINKS = """<p>For programs: <a href="/docs/events.json">this catalogue as AsyncAPI 3</a>.
The HTTP API has <a href="/docs">a page of its own</a>.</p>
"""
TAIL = "</main>\n</body>\n</html>\n"


def page_of(document: Json) -> bytes:
    """Return the page of an AsyncAPI document, in UTF-8."""
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    kinds = {message["title"] for message in messages.values()}
    parts = [
        HEAD,
        f"<h1>{escape(document['info']['title'])}</h1>\n<p>{_prose(document['info']['description'])}</p>\n",
        LINKS,
        f"<nav><ul>{''.join(_link(name, message) for name, message in messages.items())}</ul></nav>\n",
        *(_event(document, name, message) for name, message in messages.items()),
        '<h2 id="parts">Parts of events</h2>\n',
        *(_part(name, schema) for name, schema in schemas.items() if name not in kinds),
        f'<h2 id="headers">Headers of every event</h2>\n{_headers(next(iter(messages.values()))["headers"])}',
        f'<h2 id="streams">Streams</h2>\n{_named(document[JETSTREAM]["streams"])}',
        f'<h2 id="durables">Durable consumers of the service</h2>\n{_named(document[JETSTREAM]["durables"])}',
        TAIL,
    ]
    return "".join(parts).encode()


def _link(name: str, message: Json) -> str:
    return f'<li><a href="#{escape(name)}">{escape(name)}</a> {escape(message["title"])}</li>'


def _event(document: Json, name: str, message: Json) -> str:
    """Return the section of the events of a name: what it says, where it is heard, its fields, an example."""
    schema = document["components"]["schemas"][message["title"]]
    places = [
        (escape(words), f"<code>{escape(channel['address'])}</code>")
        for place, words in PLACES
        for key, channel in document["channels"].items()
        if key.partition(".")[0] == place and name in channel["messages"]
    ]
    examples = "".join(
        f"<pre>{escape(json.dumps(each['payload'], indent=2, ensure_ascii=False))}</pre>\n"
        for each in message.get("examples", ())
    )
    return (
        f'<section id="{escape(name)}">\n<h2>{escape(name)} <small>{escape(message["title"])}</small></h2>\n'
        f"<p>{_prose(schema['description'])}</p>\n"
        f"{_table(('where', 'subject'), places)}"
        f"<p>Its <code>ce-type</code> is <code>{escape(message['name'])}</code>.</p>\n"
        f"{_fields(schema)}{examples}</section>\n"
    )


def _part(name: str, schema: Json) -> str:
    """Return the section of a type that stands in fields of events."""
    return (
        f'<section id="{escape(name)}">\n<h3>{escape(name)}</h3>\n<p>{_prose(schema.get("description", ""))}</p>\n'
        f"{_fields(schema)}</section>\n"
    )


def _fields(schema: Json) -> str:
    """Return the table of a type's fields: name, type with its bounds, and the default or that it is always there."""
    required = schema.get("required", ())
    rows = [
        (f"<code>{escape(name)}</code>", _type(field), "always there" if name in required else _default(field))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", "left out"), rows)


def _default(field: Json) -> str:
    return f"<code>{escape(json.dumps(field['default']))}</code>" if "default" in field else "absent"


def _type(schema: Json) -> str:
    """Return a type in words: the values or the kind with its bounds, or a link to the part that it is."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    if values:
        return ", ".join(f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>" for value in values)
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and "additionalProperties" in schema:
        kind = "object of texts"
    bounds = [words.format(f"<code>{escape(f'{schema[key]}')}</code>") for key, words in _BOUNDS if key in schema]
    return ", ".join([escape("null" if kind == "null" else str(kind)), *bounds])


def _headers(schema: Json) -> str:
    """Return the table of the headers, whose `ce-type` is each event's own."""
    rows = [
        (
            f"<code>{escape(name)}</code>",
            "the event's own" if name == "ce-type" else _type(header),
            _prose(header.get("description", "")),
        )
        for name, header in schema["properties"].items()
    ]
    return _table(("header", "value", "what it is"), rows)


def _named(things: Mapping[str, Json]) -> str:
    """Return the streams, or the consumers, each with the table of what is set."""
    return "".join(
        f"<h3><code>{escape(name)}</code></h3>\n<p>{_prose(thing['description'])}</p>\n"
        + _table(
            ("what", "value"),
            [
                (escape(key), f"<code>{escape(value if isinstance(value, str) else json.dumps(value))}</code>")
                for key, value in thing.items()
                if key != "description" and value is not None
            ],
        )
        for name, thing in things.items()
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the cells of its rows are HTML."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="table"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'


def _prose(text: str) -> str:
    """Return a text as HTML: what stands in backticks is code, and an empty line begins a paragraph."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
    return marked.replace("\n\n", "</p>\n<p>")
