import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.events import JobFailed, JobStarted, JobSucceeded
from contracts.fitting import Room
from contracts.job import input_name, video_name, video_path, video_url
from contracts.memory import Holding
from contracts.model_shape import WAN_14B
from contracts.plan import Plan
from ops import provision
from tests.kit import auth
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge, picture, post, submit
from tests.kit.machine import free_port
from tests.kit.process import PLANTED
from tests.kit.waiting import eventually

BUSY = "服务器繁忙，请稍后重试"


async def status(client: aiohttp.ClientSession, edge: Edge, job_id: str) -> Any:
    async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
        return await answer.json()


async def cluster(link: Bus, **changes: Any) -> None:
    beat: dict[str, Any] = {
        "instance": "c1", "name": "one", "device": "cpu", "world_size": 2, "model": "pocket", "sizes": ["256*144"],
        "default_size": "256*144", "heads": 6, "plan": Plan(cfg_size=2, ulysses_size=1), "current_jobs": [],
        "started_at": 1.0, "at": 2.0,
    }  # fmt: skip
    beat.update(changes)
    await link.put_last(subjects.CLUSTERS_BUCKET, beat["instance"], wire.encode(ClusterStatus(**beat)))


async def end_succeeded(link: Bus, job_id: str) -> None:
    ending = JobSucceeded(
        job_id=job_id, at=4e9, attempt=1, instance="c1", video_url=video_url(job_id), video_path=video_path(job_id),
        width=64, height=48, num_frames=25, duration=1.5625, size_bytes=3, sha256="0" * 64, seed=1,
    )  # fmt: skip
    await link.publish(subjects.event(ending), wire.encode(ending), within_s=2)


async def test_a_submission_becomes_a_job_with_its_input_stored(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    body = {"prompt": "  a boat at sea  ", "image_url": picture(), "num_frames": 24}
    async with client.post(f"{edge.url}/video/submit", json=body) as answer:
        assert answer.status == 202
        job_id = (await answer.json())["requestId"]
        assert answer.headers["Location"] == f"/video/status/{job_id}"
        assert len(answer.headers["X-Request-Id"]) == 32
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(job_id))
    assert stored is not None
    job = wire.decode_submission(stored.data).job
    assert (job.prompt, job.num_frames) == ("a boat at sea", 25)
    assert (edge.scratch / input_name(job_id)).read_bytes().startswith(b"\x89PNG")


async def test_a_status_is_there_straight_after_the_202_with_no_state_service(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    ids = [(await submit(client, edge))[1]["requestId"] for _ in range(3)]
    found = [await status(client, edge, job_id) for job_id in ids]
    assert [(one["status"], one["queue_position"], one["progress"]) for one in found] == [
        ("InQueue", 1, 0.0),
        ("InQueue", 2, 0.0),
        ("InQueue", 3, 0.0),
    ]
    assert all(one["created_at"] and one["reason"] is None and one["results"] is None for one in found)
    assert await post(client, f"{edge.url}/video/status", {"requestId": ids[0]}) == (200, found[0])


async def test_positions_stay_exact_after_a_cancel(client: aiohttp.ClientSession, edge: Edge) -> None:
    ids = [(await submit(client, edge))[1]["requestId"] for _ in range(4)]
    await post(client, f"{edge.url}/video/cancel", {"requestId": ids[1]})
    assert [(await status(client, edge, job_id))["queue_position"] for job_id in ids] == [1, None, 2, 3]


async def test_a_cancelled_job_is_cancelled_for_good_and_frees_its_slot_at_once(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    ids = [(await submit(client, edge))[1]["requestId"] for _ in range(5)]
    assert (await submit(client, edge))[0] == 429
    for _ in range(2):
        assert await post(client, f"{edge.url}/video/cancel", {"requestId": ids[0]}) == (200, {"status": "Cancelled"})
    assert (await status(client, edge, ids[0]))["status"] == "Cancelled"
    assert not (edge.scratch / input_name(ids[0])).exists()
    assert (await submit(client, edge))[0] == 202
    endings = await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ids[0]))
    assert len(endings) == 1


async def test_a_finished_job_cannot_be_cancelled(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    await end_succeeded(link, job_id)
    code, body = await post(client, f"{edge.url}/video/cancel", {"requestId": job_id})
    assert (code, body["error"], body["status"]) == (409, "ALREADY_FINISHED", "Succeed")


async def test_metadata_comes_back_in_the_status_and_an_ended_one_says_when_it_expires(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge, metadata={"order": "17"}))[1]["requestId"]
    waiting = await status(client, edge, job_id)
    assert (waiting["metadata"], waiting["expires_at"]) == ({"order": "17"}, None)
    await end_succeeded(link, job_id)
    ended = await status(client, edge, job_id)
    assert (ended["metadata"], ended["expires_at"]) == ({"order": "17"}, ended["updated_at"] + 1800)


@pytest.mark.parametrize("path", ["status", "cancel"])
async def test_an_unknown_job_is_404_and_a_malformed_id_400(
    client: aiohttp.ClientSession, edge: Edge, path: str
) -> None:
    code, body = await post(client, f"{edge.url}/video/{path}", {"requestId": "0" * 32})
    assert (code, body["error"]) == (404, "NOT_FOUND")
    for wrong in ({"requestId": "x"}, {"requestId": 1}, {}, [], {"requestId": "0" * 32, "more": 1}):
        code, body = await post(client, f"{edge.url}/video/{path}", wrong)
        assert (code, body["error"], body["details"][0]["field"]) == (400, "VALIDATION_ERROR", "requestId")


async def test_a_status_knows_what_the_log_knows(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    started = JobStarted(job_id=job_id, at=1.0, attempt=1, instance="c1", width=64, height=48, num_frames=25)
    failed = JobFailed(job_id=job_id, at=4e9, attempt=1, instance="c1", reason="no room")
    seen = []
    for event in (started, failed):
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)
        found = await status(client, edge, job_id)
        seen.append((found["status"], found["reason"], found["queue_position"]))
    assert seen == [("InProgress", None, None), ("Failed", "no room", None)]


async def test_a_full_service_refuses_over_two_edges_and_fetches_nothing_for_those_refused_by_the_look(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker, link: Bus
) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=3))
    fetched = 0

    async def serve_image(_: web.Request) -> web.Response:
        nonlocal fetched
        fetched += 1
        return web.Response(body=png, content_type="image/png")

    png = base64.b64decode(picture().split(",")[1])
    server = web.Application()
    server.router.add_get("/a.png", serve_image)
    runner = web.AppRunner(server)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()

    allowed = {"OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8", "OUTBOUND_ALLOWED_PORTS": str(port)}
    pair = [edges(**allowed), edges(**allowed)]
    for edge in pair:
        await edge.ready(client)
    codes: Counter[int] = Counter()
    async with auth.client_session(connector=aiohttp.TCPConnector(limit=8)) as eight:

        async def one(n: int) -> None:
            code, body = await submit(eight, pair[n % 2], image_url=f"http://127.0.0.1:{port}/a.png?{PLANTED}")
            codes[code] += 1
            assert code == 202 or (body["error"], body["detail"]) == ("BUSY", BUSY)
            assert code == 202 or "3 of 3 allowed unfinished jobs" in body["message"]

        await asyncio.gather(*(one(n) for n in range(200)))
    assert codes == {202: 3, 429: 197}
    assert 3 <= fetched <= 3 + 8
    async with client.post(
        f"{pair[0].url}/video/submit", json={"prompt": "a boat at sea", "image_url": picture()}
    ) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
    inputs = list(pair[0].scratch.glob("inputs/*"))
    assert len(inputs) == 3
    await post(client, f"{pair[0].url}/video/cancel", {"requestId": inputs[0].stem})
    assert (await submit(client, pair[1]))[0] == 202
    assert (await submit(client, pair[1]))[0] == 429
    await runner.cleanup()


async def test_what_no_cluster_can_run_is_refused_in_its_own_words(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    assert (await submit(client, edge, image_size="1280*720"))[0] == 202  # nobody there: it may wait
    await cluster(link)
    code, body = await submit(client, edge, image_size="1280*720", ulysses_size=4)
    assert code == 400
    assert {detail["field"] for detail in body["details"]} == {"image_size", "ulysses_size"}
    assert "256*144" in body["message"]
    assert "2 ranks and 6 attention heads cfg_size×ulysses_size may be 2×1, 1×2, 1×1" in body["message"]
    assert (await submit(client, edge, image_size="256*144", ulysses_size=2))[0] == 202


async def test_what_fits_no_cluster_is_refused_with_the_gigabytes_and_what_would_help(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    room = Room(card_bytes=24_000_000_000, shape=WAN_14B, holding=Holding(ranks=8))
    await cluster(link, world_size=8, heads=40, sizes=["1280*720"], default_size="1280*720", room=room)
    asked = {"num_frames": 121 - 1, "use_attentioncache": True}
    code, body = await submit(client, edge, **asked)
    assert (code, [detail["field"] for detail in body["details"]]) == (400, ["use_attentioncache"])
    assert "GB of each card at the stage denoise, which has 24.0; it would fit with" in body["message"]
    assert (await submit(client, edge, num_frames=120))[0] == 202
    await cluster(link, instance="c2", world_size=8, heads=40, sizes=["1280*720"], default_size="1280*720")
    assert (await submit(client, edge, **asked))[0] == 202, "this one says nothing of its memory"


async def test_a_plan_is_accepted_as_it_was_asked_for_and_one_that_does_not_add_up_names_the_numbers(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await cluster(link, world_size=8, heads=40, plan=Plan(cfg_size=2, ulysses_size=4))
    asked = {"cfg_size": 1, "ulysses_size": 8, "vae_parallel": True, "use_attentioncache": True, "start_step": 3}
    code, body = await submit(client, edge, **asked)
    assert code == 202
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(body["requestId"]))
    assert stored is not None
    job = wire.decode_submission(stored.data).job
    assert {name: getattr(job, name) for name in asked} == asked
    for wrong, fields in (
        ({"cfg_size": 2, "ulysses_size": 8}, {"cfg_size", "ulysses_size"}),
        ({"cfg_size": 2, "guidance_scale": 1.0}, {"cfg_size"}),
        ({"ulysses_size": 3}, {"ulysses_size"}),
    ):
        code, body = await submit(client, edge, **wrong)
        assert (code, {detail["field"] for detail in body["details"]}) == (400, fields)
    assert "ulysses_size was 3; on cluster one with 8 ranks and 40 attention heads" in body["message"]
    await cluster(link, instance="c2", world_size=1, heads=40, plan=Plan(cfg_size=1, ulysses_size=1))
    assert (await submit(client, edge, cfg_size=2))[0] == 400


async def test_what_cannot_be_read_on_the_broker_is_no_error_of_the_edges(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    before = await status(client, edge, job_id)
    await link.put_last(subjects.CLUSTERS_BUCKET, "c2", b"{")
    await link.put_last(subjects.STATUS_BUCKET, job_id, b"{")
    await link.publish(subjects.job("e" * 32), b"{", within_s=2)
    await link.publish(f"video.events.{job_id}.step", b"{", within_s=2)
    assert await status(client, edge, job_id) == before
    assert (await status(client, edge, "e" * 32))["error"] == "NOT_FOUND"
    assert (await submit(client, edge))[0] == 202
    async with client.get(f"{edge.url}/health") as answer:
        assert (answer.status, (await answer.json())["clusters"]) == (200, [])
    await link.publish(f"video.events.{job_id}.finished.succeeded", b"{", within_s=2)
    found = await status(client, edge, job_id)
    assert (found["status"], found["reason"]) == ("Failed", "its ending cannot be read")
    assert not [line for line in edge.lines if line["event"] == "internal_error"]


async def test_an_address_of_our_own_network_is_refused(client: aiohttp.ClientSession, edge: Edge) -> None:
    code, body = await submit(client, edge, image_url="http://127.0.0.1/a.png")
    assert (code, body["details"][0]["field"]) == (400, "image_url")
    assert list(edge.scratch.glob("inputs/*")) == []


async def test_a_bad_image_says_why(client: aiohttp.ClientSession, edge: Edge) -> None:
    code, body = await submit(client, edge, image_url=picture(16, 48))
    assert (code, body["details"][0]["field"]) == (400, "image_url")
    assert "16" in body["message"]
    assert "32" in body["message"]


async def test_a_fault_of_form_is_said_in_words_of_form(client: aiohttp.ClientSession, edge: Edge) -> None:
    for url in (picture().partition(",")[2], "cat.jpg", "www.example.com/cat.jpg", "s3://bucket/cat.jpg"):
        code, body = await submit(client, edge, image_url=url)
        assert (code, body["details"][0]["field"]) == (400, "image_url")
        assert "must begin with https://, http:// or data:image/...;base64," in body["message"]
    code, body = await submit(client, edge, image_url="")
    assert code == 400
    assert body["message"].startswith('image_url was ""; it may be an http:// or https:// address, or a data: URI')


async def test_auto_is_decided_with_the_picture_if_a_cluster_lives_and_by_the_cluster_if_none_does(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    async def asked() -> tuple[str, str | None]:
        code, body = await submit(client, edge, image_size="auto", image_url=picture(90, 160))
        assert code == 202
        stored = await link.last(subjects.JOBS_STREAM, subjects.job(body["requestId"]))
        assert stored is not None
        return body["requestId"], wire.decode_submission(stored.data).job.image_size

    assert (await asked())[1] == "auto"
    await cluster(link, sizes=["256*144", "144*256"])
    job_id, size = await asked()
    assert size == "144*256"
    started = JobStarted(
        job_id=job_id, at=1.0, attempt=1, instance="c1", width=144, height=256, num_frames=25, cropped=0.01
    )
    await link.publish(subjects.event(started), wire.encode(started), within_s=2)
    found = await status(client, edge, job_id)
    assert (found["width"], found["height"], found["cropped"]) == (144, 256, 0.01)


async def test_bodies_are_json_from_no_other_site_and_not_too_large(client: aiohttp.ClientSession, edge: Edge) -> None:
    url = f"{edge.url}/video/status"
    body = json.dumps({"requestId": "0" * 32})
    answers: list[int] = []
    for data, headers in (
        (body, {"Content-Type": "text/plain"}),
        (body, {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}),
        (body + " " * 70_000, {"Content-Type": "application/json"}),
    ):
        async with client.post(url, data=data, headers=headers) as answer:
            assert {"error", "message"} <= set(await answer.json())
            answers.append(answer.status)
    assert answers == [415, 403, 413]
    async with client.get(f"{edge.url}/nowhere") as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, "NOT_FOUND")


async def test_a_video_is_served_once_its_job_has_succeeded(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    url = f"{edge.url}/videos/{job_id}.mp4"
    (edge.videos / video_name(job_id)).write_bytes(bytes(range(256)) * 4)

    async def get(**headers: str) -> tuple[int, bytes]:
        async with client.get(url, headers=headers) as answer:
            return answer.status, await answer.read()

    assert (await get())[0] == 404
    await end_succeeded(link, job_id)
    assert await get() == (200, bytes(range(256)) * 4)
    assert await get(Range="bytes=100-199") == (206, bytes(range(100, 200)))
    assert await get(Range="bytes=-2") == (206, b"\xfe\xff")
    assert (await get(Range="bytes=5000-"))[0] == 416
    async with client.head(url) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "1024")
        assert answer.headers["Content-Type"] == "video/mp4"
        etag = answer.headers["ETag"]
    assert await get(**{"If-None-Match": etag}) == (304, b"")
    (edge.videos / video_name(job_id)).unlink()
    assert (await get())[0] == 410


async def test_health_and_metrics_are_the_brokers_own_numbers(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    async def read(path: str, **headers: str) -> Any:
        async with client.get(f"{edge.url}/{path}", headers=headers) as answer:
            assert answer.status == 200
            return await answer.json() if answer.content_type == "application/json" else await answer.text()

    assert (await read("health"))["status"] == "degraded"  # nobody would work
    await cluster(link)
    await submit(client, edge)
    await submit(client, edge)
    health = await read("health")
    assert (health["status"], health["world_size"], health["durability"]) == ("healthy", 2, "checked")
    assert health["resources"] == {"concurrent_tasks": 2, "max_concurrent": 5, "available_slots": 3}
    assert health["service"] == {"total_tasks": 2, "pipeline_world_size": 2, "pipeline_rank": 0}
    metrics = await read("metrics")
    assert metrics["resources"] == health["resources"]
    assert metrics["system"]["world_size"] == 2
    assert "# EOF" in await read("metrics", Accept="application/openmetrics-text; version=1.0.0")


async def test_without_a_broker_the_edge_lives_says_so_and_comes_back(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker
) -> None:
    broker.kill()

    async def get(path: str) -> int:
        async with client.get(f"{edge.url}/{path}") as answer:
            return answer.status

    assert [await get(path) for path in ("livez", "health")] == [200, 503]
    code, body = await post(client, f"{edge.url}/video/status", {"requestId": "0" * 32})
    assert (code, body["error"]) == (503, "UNAVAILABLE")
    assert "nats" not in json.dumps(body).lower()

    async def not_ready() -> bool:
        return await get("readyz") == 503

    await eventually(not_ready, within_s=15)
    broker.start()
    await edge.ready(client)
    assert (await submit(client, edge))[0] == 202


async def test_an_edge_may_start_before_its_broker(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker
) -> None:
    broker.kill()
    edge = edges()

    await eventually(lambda: edge.answers(client, "/livez"), within_s=20)
    async with client.get(f"{edge.url}/readyz") as answer:
        assert answer.status == 503
    broker.start()


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_every_request_has_a_line_with_its_id_and_none_holds_a_prompt_an_image_or_a_query(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    """The planted words of all tests are looked for in every log when its process ends; here by name."""
    await submit(client, edge)
    await submit(client, edge, image_url=f"http://127.0.0.1/a.png?token={PLANTED}")
    await submit(client, edge, image_url=f"http://{PLANTED}@example.org/a.png")
    await submit(client, edge, negative_prompt=[PLANTED])
    planted = {"X-Planted": PLANTED, "X-Forwarded-For": PLANTED, "User-Agent": PLANTED, "Idempotency-Key": PLANTED}
    for path in ("health", f"video/status/{'0' * 32}", f"videos/{'0' * 32}.mp4"):
        async with client.get(f"{edge.url}/{path}?{PLANTED}", headers=planted) as answer:
            assert answer.status in (200, 404)
    served = await eventually(lambda: [line for line in edge.lines if line.get("route") == "/videos/{name}"])
    assert all(line["http_request_id"] and line["service"] == "edge" for line in served)
    assert PLANTED not in edge.text
    assert "base64" not in edge.text
