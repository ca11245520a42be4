"""The catalogue of events: `python -m ops.catalogue` (`just catalogue`) writes it into `contracts`.

It is an AsyncAPI 3 document, and a JSON Schema for each type of event. All of it is made of what the processes run by:
the structs of `contracts.events`, the names in `contracts.subjects` and the streams that `provision` creates. AsyncAPI
knows nothing of JetStream, so streams and durables stand in an extension, `x-wanjet-jetstream`.
"""

import json
from pathlib import Path
from typing import Any

from nats.js.api import StreamConfig

import contracts
from contracts import cloud_events, event_names, inventory, json_schema, subjects, wire
from contracts.events import Event
from ops import streams
from ops.event_examples import examples

FOLDER = Path(contracts.__file__).parent
DOCUMENT = "events.asyncapi.json"
SCHEMAS = "schemas"
JETSTREAM = "x-wanjet-jetstream"
SETTINGS = streams.Settings()
"""What the catalogue speaks of: the defaults."""

ABOUT = """\
Every event of every job, as NATS has it. Whoever wants to hear events while connected subscribes to `video.live.…`; \
whoever must miss none makes a durable consumer of their own on the stream VIDEO_EVENTS. Attributes of CloudEvents 1.0 \
stand in the headers (binary content mode); the body is plain JSON. Events may grow fields and never lose one."""

Json = dict[str, Any]


def main() -> None:
    """Write every file of the catalogue, and remove schemas of types that are no more."""
    (FOLDER / SCHEMAS).mkdir(exist_ok=True)
    wanted = files()
    for stale in (FOLDER / SCHEMAS).glob("*.json"):
        if f"{SCHEMAS}/{stale.name}" not in wanted:
            stale.unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content)


def files() -> dict[str, str]:
    """Return the text of every file of the catalogue, by its name within `contracts`."""
    kinds = set(event_names.names().values())
    made = {f"{SCHEMAS}/{kind.__name__}.json": json_schema.alone(kind) for kind in kinds}
    texts = {name: json.dumps(content, indent=2, ensure_ascii=False) for name, content in (made | _document()).items()}
    return {name: f"{text}\n" for name, text in sorted(texts.items())}


def _document() -> dict[str, Json]:
    return {DOCUMENT: document()}


def document() -> Json:
    """Return the AsyncAPI document, ready to be encoded as JSON."""
    channels = {"queue": _queue(), **{k: v for name in event_names.names() for k, v in _channels(name).items()}}
    kinds = list(dict.fromkeys(event_names.names().values()))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "WanJet: events of jobs",
            "version": f"{inventory.SCHEMA}.0.0",
            "description": ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": cloud_events.CONTENT_TYPE,
        "servers": {"local": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "The default NATS_URL."}},
        "channels": channels,
        "operations": {channel: _operation(channel, parts) for channel, parts in channels.items()},
        "components": {
            "messages": {name: _message(name, example) for name, example in examples().items()},
            "schemas": json_schema.schemas(kinds, "#/components/schemas/{name}"),
        },
        JETSTREAM: {"streams": _streams(), "durables": _durables()},
    }


def _channels(name: str) -> Json:
    """Return the channels of the events of a name: in the log, and live."""
    stored = event_names.pattern_of(name).replace("*", "{requestId}")
    log = _channel(stored, name, "Stored, and read by durable consumers. Not to be subscribed to: use the live copy.")
    live = _channel(stored.replace(".events.", ".live.", 1), name, "The broker's copy of what the log has stored.")
    return {
        f"log.{name}": {**log, JETSTREAM: {"stream": subjects.EVENTS_STREAM}},
        f"live.{name}": {**live, JETSTREAM: {"stream": None, "copiedFrom": subjects.EVENTS_STREAM}},
    }


def _queue() -> Json:
    """Return the channel of jobs for clusters."""
    address = subjects.job("{requestId}", "{lane}")
    channel = _channel(address, event_names.SUBMITTED, "The queue: the message by which one cluster gets the job.")
    parameters = {**channel["parameters"], "lane": {"enum": [subjects.LANE, subjects.REQUEUED_LANE]}}
    return {**channel, "parameters": parameters, JETSTREAM: {"stream": subjects.JOBS_STREAM}}


def _channel(address: str, name: str, description: str) -> Json:
    """Return a channel with the events of one name."""
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {"requestId": {"description": "The job's id, 32 hexadecimal characters."}},
        "bindings": {"nats": {"bindingVersion": "0.1.0"}},
    }


def _operation(channel: str, parts: Json) -> Json:
    """Return the operation by which the service publishes on a channel."""
    references = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in parts["messages"]]
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "messages": references}


def _message(name: str, example: Event) -> Json:
    """Return the message of a name: its headers, its body by the schema of its type, and an example."""
    text: Json = {"type": "string"}
    always: Json = {
        "ce-specversion": {"const": cloud_events.VERSION},
        "ce-id": {**text, "description": "The message id, percent-encoded: one event, one id."},
        "ce-source": {"const": cloud_events.SOURCE},
        "ce-type": {"const": cloud_events.type_of(name)},
        "ce-subject": {**text, "description": "The job's id."},
        "content-type": {"const": cloud_events.CONTENT_TYPE},
    }
    sometimes: Json = {
        "ce-time": {**text, "format": "date-time"},
        "Nats-Msg-Id": {**text, "description": "By it the stream drops a repeated message."},
        "traceparent": {**text, "description": "The job's trace, while tracing is on."},
    }
    return {
        "name": cloud_events.type_of(name),
        "title": (kind := type(example).__name__),
        "contentType": cloud_events.CONTENT_TYPE,
        "headers": {"type": "object", "properties": {**always, **sometimes}, "required": list(always)},
        "payload": {"$ref": f"#/components/schemas/{kind}"},
        "examples": [{"name": name, "payload": json.loads(wire.encode(example))}],
    }


def _streams() -> Json:
    """Return the streams that hold events, by their names, with their limits; times are in seconds."""
    kept = {subjects.EVENTS_STREAM, subjects.JOBS_STREAM}
    return {stream.name: _stream(stream) for stream in streams.streams(SETTINGS) if stream.name in kept and stream.name}


def _stream(stream: StreamConfig) -> Json:
    copied = stream.republish
    return {
        "description": stream.description,
        "subjects": stream.subjects,
        "retention": stream.retention,
        "kept": inventory.STREAMS[stream.name or ""].kept,
        "maxAgeSeconds": stream.max_age or None,
        "duplicateWindowSeconds": stream.duplicate_window,
        "maxMessageBytes": stream.max_msg_size,
        "copies": copied and {"from": copied.src, "to": copied.dest},
    }


def _durables() -> Json:
    """Return the durables of the service's own on those streams: others take names of their own."""
    return {
        consumer.durable_name: {
            "stream": stream,
            "description": consumer.description,
            "filter": consumer.filter_subject,
            "ackPolicy": consumer.ack_policy,
            "ackWaitSeconds": consumer.ack_wait,
        }
        for stream, consumer in streams.consumers(SETTINGS)
        if stream in _streams() and consumer.durable_name
    }


if __name__ == "__main__":
    main()
