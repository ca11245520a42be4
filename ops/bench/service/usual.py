"""Serves the same three things in the usual way, to measure against: `python -m ops.bench.service.usual PORT FOLDER N`.

FastAPI and pydantic under uvicorn with uvloop and httptools. Jobs are in a dict, nothing is durable, nothing is checked
beyond the types; the picture is decoded by Pillow in a thread and written as a JPEG. N jobs of each kind are there from
the start, with the ids of `inputs.job_id`, and the videos are the files of FOLDER/videos.
"""

import asyncio
import base64
import io
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, HTTPException
from PIL import Image
from pydantic import BaseModel, Field
from starlette.responses import FileResponse

from ops.bench.service.ids import KINDS, job_id

THUMBNAIL_PX = 2048
JPEG_QUALITY = 95


class Submission(BaseModel):
    """The body of a submission, with the limits of the API."""

    prompt: str = Field(min_length=10, max_length=500)
    image_url: str
    image_size: str | None = None
    num_frames: int = Field(81, ge=24, le=120)
    infer_steps: int = Field(30, ge=20, le=100)
    guidance_scale: float = Field(3.0, ge=1, le=20)
    seed: int | None = None


class Status(BaseModel):
    """A job as it stands."""

    requestId: str  # as the API has it
    status: Literal["InQueue", "InProgress", "Succeed", "Failed", "Cancelled"] = "InQueue"
    reason: str | None = None
    results: dict[str, Any] | None = None
    queue_position: int | None = None
    progress: float = 0.0
    created_at: float | None = None
    updated_at: float = 0.0
    stage: str | None = None
    step: int = 0


def serving(folder: Path, jobs: int) -> FastAPI:
    """Return the app, with so many jobs of each kind."""
    app = FastAPI()
    known: dict[str, Status] = {}
    queue = asyncio.Queue[str]()
    for number in range(jobs):
        for kind in KINDS:
            made = _made(kind, number)
            known[made.requestId] = made
    (folder / "pictures").mkdir(exist_ok=True)

    @app.post("/video/submit", status_code=202)
    async def submit(body: Submission) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        name = uuid.uuid4().hex
        await asyncio.to_thread(_store, body.image_url, folder / "pictures" / f"{name}.jpg")
        known[name] = Status(requestId=name, created_at=time.time(), queue_position=queue.qsize() + 1)
        queue.put_nowait(name)
        return {"requestId": name}

    @app.get("/video/status/{name}")
    async def status(name: str) -> Status:  # pyright: ignore[reportUnusedFunction]
        if name not in known:
            raise HTTPException(404)
        return known[name]

    @app.get("/videos/{name}")
    async def video(name: str) -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(folder / "videos" / name, media_type="video/mp4")

    return app


def _store(uri: str, file: Path) -> None:
    """Write the picture of a `data:` URI as a JPEG."""
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    picture.save(file, "JPEG", quality=JPEG_QUALITY)


def _made(kind: str, number: int) -> Status:
    name = job_id(kind, number)
    match kind:
        case "ended":
            results = {"video_url": f"/videos/{name}.mp4", "width": 256, "height": 144, "num_frames": 25}
            return Status(requestId=name, status="Succeed", progress=1.0, results=results, created_at=1.0)
        case "running":
            return Status(requestId=name, status="InProgress", progress=0.5, stage="denoise", step=10, created_at=1.0)
        case _:
            return Status(requestId=name, queue_position=number + 1, created_at=1.0)


if __name__ == "__main__":
    port, folder, jobs = sys.argv[1:]
    app = serving(Path(folder), int(jobs))
    uvicorn.run(app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", access_log=False)
