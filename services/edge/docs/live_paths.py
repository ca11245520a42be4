"""The paths of the OpenAPI document for live events: Server-Sent Events of one job and of all, and the WebSocket."""

from contracts.job import JobId
from services.edge.docs.components import refusals, refusals_to_head
from services.edge.docs.examples import JOB_ID
from services.edge.docs.operation import answer, header, headers_of, operation, path, query
from services.edge.docs.schema import Json, schema
from services.edge.live.follow import ALIVE_EVERY_S
from services.edge.live.query import LAST_EVENT_ID, SEQUENCE_MAX
from services.edge.payloads import ErrorBody

_ID = schema(JobId)
_SEQUENCE = {"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX}
_EVENTS = (
    "Each event has an `id`, its kind as `event` (`submitted`, `started`, `stage`, `progress`, `step`, `released`, "
    "`succeeded`, `failed`, `cancelled`, `deleted`), and JSON as `data`: the event as the log has it. Whoever connects "
    "again with the last id gets exactly what was missed, from any edge. A `preview`, without an id, has a small WebP "
    f"of what the video is going to be, as a `data:` URL; it may be missed. After {ALIVE_EVERY_S:g} s without an event "
    "comes a comment. `resync` and `reconnect`, without an id, are the last words of a connection: connect again with "
    "the last id, at once or after `retry` milliseconds. Among the events of all jobs an `id` without an event moves "
    "the last id on, past events that the caller may not see."
)
_STREAM = f"""\
retry: 2000

id: 4711
event: step
data: {{"type":"StepCompleted","requestId":"{JOB_ID}","at":1703847660.1,"attempt":1,"step":7,"steps":30,"progress":0.3}}

"""


def live_paths() -> Json:
    """Return the path items of the routes in `live_routes`, by path: parameters and answers."""
    return {
        "/video/events": {"get": _all_get(), "head": _head("eventsHead", [], 400, 403, 500, 503)},
        "/video/events/{id}": {
            "get": _job_get(),
            "head": _head("jobEventsHead", [path("id", _ID, JOB_ID)], 400, 403, 404, 500, 503),
        },
        "/video/ws/{id}": {"get": _socket_get()},
    }


def _all_get() -> Json:
    """Return the OpenAPI operation that follows all jobs."""
    meaning = (
        "From now on, or from the last id on. The events name the jobs' ids, and whoever knows an id can cancel the "
        f"job: so this is refused unless the operator has set `SHOW_ALL_JOBS`. A key shows its tenant's jobs. {_EVENTS}"
    )
    return {
        **operation("events", "jobs", "Follow all jobs", meaning),
        "parameters": _parameters(),
        "responses": {"200": _stream("Events, for as long as the connection lasts."), **refusals(400, 403, 500, 503)},
    }


def _job_get() -> Json:
    """Return the OpenAPI operation that follows one job."""
    meaning = (
        f"From the submission on, or from the last id on, to the job's ending, with which the stream ends. {_EVENTS}"
    )
    over = {"description": "All was told, the ending too: do not come again.", "headers": headers_of()}
    return {
        **operation("jobEvents", "jobs", "Follow a job", meaning),
        "parameters": [path("id", _ID, JOB_ID), *_parameters()],
        "responses": {
            "200": _stream("Events, up to the job's ending."),
            "204": over,
            **refusals(400, 403, 404, 500, 503),
        },
    }


def _head(name: str, parameters: list[Json], *statuses: int) -> Json:
    """Return the OpenAPI operation that asks whether a stream would begin."""
    headers = headers_of("Cache-Control")
    begins = {"description": "A stream would begin.", "headers": headers}
    over = {"description": "All was told.", "headers": headers_of()}
    return {
        **operation(name, "jobs", "What GET would answer, without the events"),
        "parameters": [*parameters, *_parameters()],
        "responses": {"200": begins, "204": over, **refusals_to_head(*statuses)},
    }


def _socket_get() -> Json:
    """Return the OpenAPI operation of a WebSocket, as far as OpenAPI knows such."""
    meaning = (
        "The events of `/video/events/{id}` as text frames over a WebSocket: JSON with `id`, `event` and `data`. The "
        "socket is for reading, and is closed with 1003 if the client sends a message; with 1000 after the ending, "
        "1012 as the edge stops, and 1013 in place of `resync`. A page of another origin must be allowed."
    )
    upgrade = ErrorBody("UPGRADE_REQUIRED", "this path is for WebSockets")
    return {
        **operation("jobSocket", "jobs", "Follow a job over a WebSocket", meaning),
        "parameters": [path("id", _ID, JOB_ID), _after()],
        "responses": {
            "101": {"description": "The frames follow.", "headers": headers_of()},
            **refusals(400, 403, 404, 500, 503),
            "426": answer("The request asks for no WebSocket.", plain=upgrade),
        },
    }


def _parameters() -> list[Json]:
    """Return the parameters by which a stream goes on: `Last-Event-ID` and `after`."""
    meaning = "The last id that came, as browsers send it by themselves; counts before `after`, if it is not empty."
    return [header(LAST_EVENT_ID, meaning, {"anyOf": [_SEQUENCE, {"const": ""}]}), _after()]


def _after() -> Json:
    """Return the parameter `after`."""
    return query("after", "The last id that came: what is told begins after it.", _SEQUENCE)


def _stream(meaning: str) -> Json:
    """Return the answer 200 with a stream of events."""
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM}}
    return {"description": meaning, "headers": headers_of("Cache-Control"), "content": content}
