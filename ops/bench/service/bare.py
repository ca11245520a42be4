"""Serves Litestar routes that do nothing, with our structs: `python -m ops.bench.service.bare PORT`.

A limit for what any service on this framework can do: it decodes a submission and encodes a status, and no more.
"""

import sys

import uvicorn
from litestar import Litestar, get, post

from contracts.job import JobRequest
from contracts.status import JobStatus

ID = "0" * 32


@post("/video/submit", status_code=202)
async def submit(data: JobRequest) -> dict[str, str]:
    """Answer with an id."""
    return {"requestId": ID if data.prompt else ""}


@get("/video/status/{name:str}")
async def status(name: str) -> JobStatus:
    """Answer with a status."""
    return JobStatus(job_id=name, status="InProgress", progress=0.5)


if __name__ == "__main__":
    app = Litestar([submit, status], openapi_config=None, logging_config=None, request_max_body_size=None)
    port = int(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False)
