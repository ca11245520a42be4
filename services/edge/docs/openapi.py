"""The HTTP contract as an OpenAPI 3.1 document: every route, its parameters and bodies, and the answers it has.

`pages` serves the document. Shapes, limits and defaults come from the structs, and the examples are made of the structs
too. A test holds that the document names every route, and no other path.
"""

from importlib.metadata import version

from services.edge.docs.components import components
from services.edge.docs.job_paths import job_paths
from services.edge.docs.schema import Json
from services.edge.docs.service_paths import service_paths

ABOUT = """\
A picture and a prompt become a video. `POST /video/submit` accepts a job and answers at once; its status is asked for \
until the job has ended; then the video is served, and can be sought in.

Any request may also be answered 400 where its `Host` is not served, 405 where the method is not offered, 408 where \
its body comes too slowly, 431 where its head is too large, 501 where its body is coded otherwise than `chunked`, and \
503 `OVERLOADED` with `Retry-After` where too much is going on. HEAD is answered wherever GET is. Answers may grow \
fields and never lose one.

In a request, a field that is `null` counts as left out.
"""


def document() -> Json:
    """Return the whole document, ready to be encoded as JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WanJet",
            "version": version("wanjet"),
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in ("jobs", "videos", "operation", "documentation")],
        "paths": {**job_paths(), **service_paths()},
        "components": components(),
    }
