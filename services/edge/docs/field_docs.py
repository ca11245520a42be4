"""The meaning of every field that travels over HTTP, in words. Types and limits come from the structs."""

from msgspec import Struct

from contracts.cluster import Objection
from contracts.job import FPS, JobRequest
from contracts.labels import DEFAULT_MODEL, METADATA_BYTES_MAX, METADATA_PAIRS_MAX
from contracts.outbound.address import URL_CHARS_MAX
from contracts.plan import Plan
from contracts.prompt import PROMPT_WEIGHT_MIN, WIDE_WEIGHT
from contracts.status import JobStatus, Results
from services.edge import health, payloads
from services.edge.docs.video_field_docs import VIDEO_MEANINGS
from services.edge.docs.webhook_docs import MEANINGS_OF_DELIVERIES
from services.edge.image.data_uri import DATA_URI_CHARS_MAX
from services.edge.image.decode import ASPECT_MAX, IMAGE_BYTES_MAX, PIXELS_MAX, SIDE_MAX, SIDE_MIN
from services.edge.payloads import Accepted, Ask, Cancelled

MIB = 1024**2

_PLAN = "Left out, and only then, the cluster's own plan decides."
_ERROR = {"error": "One word, for programs.", "message": "For people, and safe to show."}
_SEEN = {
    "timestamp": "When this was looked up, in Unix seconds.",
    "service": "What the service has done and has.",
    "resources": "Places for unfinished jobs.",
    "state_lag": "Events that no status shows yet.",
    "events_set_aside": "Events that could not be read, and were kept apart.",
    "clusters": "One entry for each cluster whose heartbeat has not run out.",
}
_CACHE = "Counted from 0, step `s` reuses what was stored where `start_step < s <= end_step` and "

MEANINGS: dict[type[Struct], dict[str, str]] = {
    **VIDEO_MEANINGS,
    JobRequest: {
        "prompt": (
            "What is to be seen. White space around it is cut off before it is measured. At least "
            f"{PROMPT_WEIGHT_MIN} characters, of which a Chinese, Japanese or Korean one (ideographs, kana, Bopomofo, "
            f"Hangul) counts as {WIDE_WEIGHT}."
        ),
        "image_url": (
            f"The first picture: an `http` or `https` URL of up to {URL_CHARS_MAX} characters, or a "
            f"`data:image/...;base64,` URI of up to {DATA_URI_CHARS_MAX // MIB} MB. A still PNG, JPEG, WebP, "
            "AVIF, GIF, BMP or TIFF, or HEIC where the service has that extra, "
            f"sides of {SIDE_MIN} to {SIDE_MAX} pixels, up to {PIXELS_MAX // 10**6} megapixels, one side at most "
            f"{ASPECT_MAX} times the other, up to {IMAGE_BYTES_MAX // MIB} MB. It is fetched and checked before the "
            "answer; private networks are not reached."
        ),
        "image_size": (
            "`W*H` in pixels, what the video measures; the picture is scaled to cover it and cropped at the centre. "
            "One of the sizes that every live cluster makes, see `clusters` in `/health`; null means the model's own, "
            "and `auto` the one at that resolution whose aspect is nearest to the picture's."
        ),
        "keep_aspect": (
            "`image_size` gives the area alone; the aspect follows the picture, both sides multiples of 16."
        ),
        "num_frames": (
            f"At {FPS} frames a second. The model makes 4n+1 frames: other counts become the nearest such, ties up "
            "(24 becomes 25, 27 becomes 29), and the status tells the real count."
        ),
        "guidance_scale": "How closely the prompt is followed. At exactly 1.0 the unconditional pass is skipped.",
        "infer_steps": "Denoising steps.",
        "seed": "The same seed and request give the same video. Null draws one, and the status tells which.",
        "negative_prompt": 'What is not to be seen. Null means the model\'s own default, `""` none.',
        "vae_parallel": f"Split encoding and decoding over the ranks. {_PLAN}",
        "ulysses_size": (
            f"Ranks that share one sequence; divides the ranks of the cluster and the model's attention heads. {_PLAN}"
        ),
        "cfg_size": (
            f"2 puts the two branches of guidance on separate ranks; refused at `guidance_scale` 1.0. {_PLAN}"
        ),
        "dit_fsdp": f"Keep the transformer's weights sharded while the job runs. {_PLAN}",
        "t5_fsdp": f"Keep the text encoder's weights sharded while the job runs. {_PLAN}",
        "use_attentioncache": "Reuse the output of self-attention between steps.",
        "start_step": f"{_CACHE}`(s - start_step) % attentioncache_interval != 0`. Below `end_step`.",
        "attentioncache_interval": "Every so many steps attention is computed anew.",
        "end_step": "The last step that may reuse; the last step of all is always computed.",
        "sample_solver": "The scheduler; `dpmpp` is another name of `dpm++`.",
        "sample_shift": (
            "The shift of the noise schedule. Left out, it is what the model's card says, else 3.0 for the sizes "
            "832*480 and 480*832 and 5.0 for all others."
        ),
        "model": f"The model that the job is for, one of `clusters` in `/health`; `{DEFAULT_MODEL}` is whichever runs.",
        "metadata": (
            f"Up to {METADATA_PAIRS_MAX} texts of the client's own, {METADATA_BYTES_MAX} bytes of JSON in all, given "
            "back in statuses and events."
        ),
        "webhook_url": (
            "An `http` or `https` URL to which the job's ending is posted, signed as Standard Webhooks has it, and "
            "again for 24 hours until it is answered with a status of 200 to 299. Private networks are not reached."
        ),
    },
    Ask: {"requestId": "The id that the submission was answered with."},
    Accepted: {"requestId": "The job's id from now on."},
    Cancelled: {"status": "Always `Cancelled`."},
    JobStatus: {
        "requestId": "The job's id.",
        "status": "`InQueue`, `InProgress`, and then for good `Succeed`, `Failed` or `Cancelled`.",
        "reason": "Why it failed, for people.",
        "results": "The video, once it is there.",
        "queue_position": "1 for the next job to run; null once it runs.",
        "progress": "From 0.0 to 1.0 by the work done, never falling within an attempt; 1.0 only with `Succeed`.",
        "created_at": "When it was accepted, in Unix seconds.",
        "updated_at": "When something last happened to it, in Unix seconds.",
        "attempt": "Counts from 1; 0 before the job first runs.",
        "stage": "What the latest attempt is at; null before it has begun, and once the job has succeeded.",
        "step": "Denoising steps done in the latest attempt while it denoises; 0 once the job has succeeded.",
        "released_attempt": (
            "The latest attempt that a cluster handed back unfinished, which did not count against the job; 0 for none "
            "and once the job has succeeded."
        ),
        "width": "Of the video, in pixels; known once an attempt has started.",
        "height": "Of the video, in pixels; known once an attempt has started.",
        "cropped": "The share of the picture that is cut off so that it fills the video, 0 to 1; known as `width` is.",
        "sized_attempt": "The attempt that `width`, `height` and `cropped` are of.",
        "metadata": "As the submission gave it; null without.",
        "eta_seconds": "In how many seconds the video is expected; null as long as nobody can know, and once it ended.",
        "expires_at": "From when on this may be forgotten, in Unix seconds; null until the job has ended.",
    },
    Results: {
        "video_url": "Where the video is served; null once it was removed to make room.",
        "video_path": "Where it lies in the store.",
        "width": "In pixels.",
        "height": "In pixels.",
        "num_frames": "As made: 4n+1.",
        "duration": "In seconds.",
        "size_bytes": "Of the file.",
        "seed": "The one that was given or drawn.",
        "cropped": "The share of the picture that was cut off so that it fills the video, from 0 to 1.",
    },
    **MEANINGS_OF_DELIVERIES,
    health.Health: {
        **_SEEN,
        "status": "`healthy`, `unhealthy`, or `degraded`: nobody works, statuses lag, durability is unchecked, or "
        "the broker or a store takes no writes.",
        "reasons": "Why it is not healthy, a sentence for each reason; empty if it is.",
        "uptime": "Seconds since this edge began.",
        "rank": "Always 0.",
        "world_size": "Ranks of all live clusters.",
        "durability": "`checked` once provisioning has seen that the broker syncs what it acknowledges.",
        "auth": "`keys` if requests need a key (`Authorization: Bearer wj_…`), `off` if none is asked for.",
        "stores": "What is wrong with which store, named by its setting; empty if all can be written to.",
    },
    health.Metrics: {**_SEEN, "system": "The clusters as a whole."},
    health.Service: {
        "total_tasks": "Jobs accepted since the queue began.",
        "pipeline_world_size": "Ranks of all live clusters.",
        "pipeline_rank": "Always 0.",
    },
    health.Resources: {
        "concurrent_tasks": "Unfinished jobs, waiting or running.",
        "max_concurrent": "Unfinished jobs admitted.",
        "available_slots": "How many more would be admitted now.",
    },
    health.System: {
        "world_size": "Ranks of all live clusters.",
        "uptime": "Seconds since this edge began.",
        "rank": "Always 0.",
    },
    health.ClusterSeen: {
        "name": "The operator's name for it.",
        "device": "What its ranks compute on.",
        "world_size": "Its ranks.",
        "model": "The checkpoint it has loaded.",
        "weights": "The fingerprint of that checkpoint: clusters that make other pixels of one job differ in it.",
        "sizes": "What `image_size` may be on it.",
        "default_size": "What `image_size` is where a request leaves it out.",
        "heads": "The model's attention heads.",
        "plan": "What a job with guidance is run by that leaves everything to the cluster.",
        "jobs_running": "How many jobs it works on.",
        "started_at": "In Unix seconds.",
        "at": "When it last said so, in Unix seconds.",
    },
    Plan: {
        "cfg_size": "Ranks that share the branches of guidance.",
        "ulysses_size": "Ranks that share one sequence.",
        "dit_fsdp": "Whether the transformer's weights stay sharded.",
        "t5_fsdp": "Whether the text encoder's weights stay sharded.",
        "vae_parallel": "Whether encoding and decoding are split over the ranks.",
    },
    Objection: {"field": "The faulty field.", "message": "What it was and what it may be; long values are cut."},
    payloads.ErrorBody: _ERROR,
    payloads.ValidationBody: {
        **_ERROR,
        "details": "Every faulty field, each once; of unknown ones the first ten, and how many more there are.",
    },
    payloads.FinishedBody: {**_ERROR, "status": "How the job ended."},
    payloads.UnavailableBody: {
        **_ERROR,
        "requestId": "After a submission of unknown outcome: ask for this id, cancel it, or repeat with the same key.",
    },
    payloads.BusyBody: {
        "error": "`BUSY`; `TENANT_BUSY` if it is the limit of the tenant alone that is reached; or "
        "`TOO_MANY_SUBMISSIONS`, which also has the headers `RateLimit` and `RateLimit-Policy`.",
        "message": "How many unfinished jobs exist, of how many that may, or how many submissions a minute are taken.",
        "detail": "For clients of the original API.",
    },
    payloads.InternalBody: {**_ERROR, "http_request_id": "What to search the log for: `X-Request-Id` again."},
}
