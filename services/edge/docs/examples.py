"""The examples of the OpenAPI document, made of the structs that travel: requests, statuses and health."""

from contracts.job import video_path, video_url
from contracts.plan import Plan
from contracts.status import JobStatus, Results
from contracts.webhook import WebhookDelivery, WebhookTry
from services.edge import health
from services.edge.v1.listing import Videos
from services.edge.v1.models import Model, Models
from services.edge.v1.video import Video, video_id

JOB_ID = "5d41402abc4b2a76b9719d911017c592"
REQUEST_ID = "0cc175b9c0f1b6a831c399e269772661"
PROMPT = "A small boat sails over a calm sea, the camera slowly zooms in"
PICTURE = (  # a boat, 128 by 72
    "data:image/webp;base64,UklGRsoAAABXRUJQVlA4TL0AAAAvf8ARADW4iiTJUozx3SJQjAhsoGDvbm4meo431BpmI2lJlmQ5S3TvY0LUSGrE4"
    "ACBiEXEAO2n/xNw+fiQeW2Njc31rubWnub2jmb03rjlF5hxN9x/dCYW6EuskESI+0FsIIkAnkhiE0ZFJTZgVATIggWshkjzK2I0I44IrYh9uKPEXrQ"
    "h9qM/ehDdiRz6w584PLgTBfAmSnDPiCIY83y+LHta18ZyKUwX4l6hDMaLYL0E5gtw75BGg0n8YgkA"
)

REQUESTS = {
    "a short video": {"prompt": PROMPT, "image_url": PICTURE, "num_frames": 25, "infer_steps": 20},
    "what is required": {"prompt": PROMPT, "image_url": PICTURE},
    "more": {
        "prompt": PROMPT, "image_url": PICTURE, "keep_aspect": True, "num_frames": 49, "guidance_scale": 5.0,
        "infer_steps": 40, "seed": 7, "negative_prompt": "blurry, static", "sample_solver": "dpm++",
        "sample_shift": 3.0,
    },
}  # fmt: skip
VIDEO_ID = video_id(JOB_ID)
VIDEO = Video(
    id=VIDEO_ID, model="Wan2.1-I2V-14B-720P", status="queued", progress=0, created_at=1703847600, completed_at=None,
    expires_at=None, prompt=PROMPT, size="1280x720", seconds="5", remixed_from_video_id=None, error=None,
    queue_position=2, eta_seconds=245.5, num_frames=81, seed=7, inference_time_s=None, stage_durations=None,
    metadata=None,
)  # fmt: skip
VIDEOS = Videos(data=[VIDEO], first_id=VIDEO_ID, last_id=VIDEO_ID, has_more=False)
MODELS = Models(data=[Model(id="Wan2.1-I2V-14B-720P", created=1703840000)])
CLUSTER = health.ClusterSeen(
    name="one", device="cuda", world_size=8, model="Wan2.1-I2V-14B-720P", weights="5f70bf18a086007016e948b04aed3b82",
    sizes=["1280*720", "720*1280", "832*480", "480*832"], default_size="1280*720", heads=40,
    plan=Plan(cfg_size=2, ulysses_size=4, vae_parallel=True), jobs_running=1, started_at=1703840000.0,
    at=1703847600.0,
)  # fmt: skip
HEALTHY = health.Health(
    status="healthy", timestamp=1703847600.1, uptime=7600.5, world_size=8, service=health.Service(12, 8),
    resources=health.Resources(2, 5, 3), durability="checked", clusters=[CLUSTER],
)  # fmt: skip
UNHEALTHY = health.Health(status="unhealthy", timestamp=1703847600.1, uptime=7600.5)
WAITING = JobStatus(
    job_id=JOB_ID, queue_position=2, created_at=1703847600.1, updated_at=1703847600.1, eta_seconds=245.5
)  # fmt: skip
SUCCEEDED = JobStatus(
    job_id=JOB_ID, status="Succeed", progress=1.0, created_at=1703847600.1, updated_at=1703847720.5, attempt=1,
    width=1280, height=720, cropped=0.25, sized_attempt=1, expires_at=1703849520.5,
    results=Results(
        video_url=video_url(JOB_ID), video_path=video_path(JOB_ID), width=1280, height=720, num_frames=81,
        duration=5.0625, size_bytes=2_345_678, seed=7, cropped=0.25,
    ),
)  # fmt: skip
DELIVERED = WebhookDelivery(
    job_id=JOB_ID, webhook_id=f"{JOB_ID}_succeeded", host="hooks.example.org", state="delivered",
    created_at=1703847720.6, tries=[
        WebhookTry(number=1, at=1703847720.6, code=503, failure="status", duration=0.21),
        WebhookTry(number=2, at=1703847726.1, code=204, duration=0.18),
    ],
)  # fmt: skip
PENDING = WebhookDelivery(job_id=JOB_ID, host="hooks.example.org")
