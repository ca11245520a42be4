"""The HTTP contract as an OpenAPI 3.1 document: every route, its parameters and bodies, and the answers it has.

`pages` serves the document. Shapes, limits and defaults come from the structs, and the examples are made of the structs
too. A test holds that the document names every route, and no other path.
"""

from importlib.metadata import version

from services.edge.auth.rights import action_of, is_open, scope_for
from services.edge.docs.components import KEY, V1, components, refusals, refusals_to_head
from services.edge.docs.job_paths import idempotency_key, job_paths
from services.edge.docs.live_paths import live_paths
from services.edge.docs.schema import Json
from services.edge.docs.service_paths import service_paths
from services.edge.docs.video_paths import video_paths
from services.edge.video_errors import speaks_v1

ABOUT = """\
A picture and a prompt become a video. `POST /video/submit` accepts a job and answers at once; its status is asked \
for, or its events are followed, until the job has ended; then the video is served, and can be sought in.

Any request may also be answered 400 where its `Host` is not served, 405 where the method is not offered, 408 where \
its body comes too slowly, 431 where its head is too large, 501 where its body is coded otherwise than `chunked`, and \
503 `OVERLOADED` with `Retry-After` where too much is going on. HEAD is answered wherever GET is, and \
OPTIONS everywhere, with the path's methods in `Allow`. Answers may grow fields and never lose one.

In a request, a field that is `null` counts as left out.

A service may ask for keys: then all but GET and HEAD of probes, `/health`, `/metrics` and these pages is answered 401 \
without a good one, and 403 if the key lacks the scope that the path needs (`submit` for changes, `read` for all else; \
`admin` is both, for the jobs of all tenants). A key sees the jobs of its own tenant; any other job is answered 404.
"""


def document(*, needs_key: bool = False) -> Json:
    """Return the whole document, ready to be encoded as JSON. With `needs_key` it is that of a service with keys."""
    paths = {**job_paths(), **live_paths(), **video_paths(idempotency_key()), **service_paths()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WanJet",
            "version": version("wanjet"),
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in ("jobs", "videos", "v1", "operation", "documentation")],
        "paths": {path: _guarded(path, item, needs_key) for path, item in paths.items()},
        "components": components(),
    }


def _guarded(path: str, item: Json, needs_key: bool) -> Json:
    """Return a path item whose operations say whether they need a key, and how they refuse one that is not good."""
    return {method: _operation(method.upper(), path, operation, needs_key) for method, operation in item.items()}


def _operation(method: str, path: str, operation: Json, needs_key: bool) -> Json:
    """Return an operation with its security, and with the answers 401 and 403 if it needs a key."""
    if is_open(method, path):
        return {**operation, "security": []}
    scope = scope_for(action_of(method, path))
    of = V1 if speaks_v1(path) else ""
    refused = refusals_to_head(401, 403) if method == "HEAD" else refusals(401, 403, of=of)
    responses = dict(sorted({**refused, **operation["responses"]}.items()))
    security: list[Json] = [{KEY: []}] if needs_key else [{}, {KEY: []}]
    return {**operation, "security": security, "x-scope": scope, "responses": responses}
