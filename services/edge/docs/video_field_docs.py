"""The meaning of every field that travels below `/v1`, in words. `field_docs` has those of the other paths."""

from msgspec import Struct

from contracts.job import FPS
from services.edge.v1.listing import Deleted, Videos
from services.edge.v1.models import Model, Models
from services.edge.v1.remix import RemixBody
from services.edge.v1.video import Failure, Video
from services.edge.video_errors import VideoError, VideoErrorBody

_OBJECT = {"object": "What this is."}

VIDEO_MEANINGS: dict[type[Struct], dict[str, str]] = {
    Video: {
        **_OBJECT,
        "id": "`video_` and the job's id on the other paths.",
        "model": "The model that the job named, else the one that is served.",
        "status": "`queued`, `in_progress`, and then for good `completed` or `failed`; a cancelled job is `failed`.",
        "progress": "In percent by the work done; 100 only with `completed`.",
        "created_at": "When it was accepted, in Unix seconds.",
        "completed_at": "When it ended, in whichever way, in Unix seconds.",
        "expires_at": "When it leaves the list, in Unix seconds; null until it has ended.",
        "prompt": "As it was given; null if only a newer version of the service can read it.",
        "size": "Width x height in pixels, as made or as asked for; `auto` until that is known.",
        "seconds": f"The length as a text: the frames less one, at {FPS} a second.",
        "remixed_from_video_id": "The video that this one is a remix of.",
        "error": "Why there is no video; null as long as there may be one.",
        "queue_position": "1 for the next job to run; null once it runs.",
        "eta_seconds": "How long it is expected to take from now on; null as long as nobody can know.",
        "num_frames": "As made: 4n+1.",
        "fps": "Frames a second.",
        "seed": "The one that was given or drawn.",
        "inference_time_s": "What the attempt that made the video took in all; null in lists.",
        "stage_durations": "Seconds of each part of that attempt; null in lists.",
        "metadata": "As the request gave it; null without.",
    },
    Failure: {
        "code": "`cancelled`, `timeout`, `out_of_memory`, `storage_full`, `image_unusable`, `worker_lost` or "
        "`generation_failed`.",
        "message": "For people, and safe to show.",
    },
    Videos: {
        **_OBJECT,
        "data": "The videos of the page.",
        "first_id": "The first one's id; null in an empty page.",
        "last_id": "The last one's id, after which the next page begins.",
        "has_more": "Whether there is a next page.",
    },
    Deleted: {**_OBJECT, "id": "The video's id, which nobody knows any more.", "deleted": "Always true."},
    RemixBody: {"prompt": "The new words."},
    Model: {
        **_OBJECT,
        "id": "What `model` may be.",
        "created": "Since when a live cluster has served it, in Unix seconds.",
        "owned_by": "Always `wanjet`.",
    },
    Models: {**_OBJECT, "data": "The models, each once."},
    VideoErrorBody: {"error": "What was wrong."},
    VideoError: {
        "message": "For people, and safe to show.",
        "type": "`invalid_request_error`, `rate_limit_error`, `server_error` and the like.",
        "param": "The faulty field; null if it is none.",
        "code": "One word, for programs.",
    },
}
