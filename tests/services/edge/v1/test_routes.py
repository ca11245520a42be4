"""`/v1/videos` on a running edge: what its clients send, and what they judge the answers by."""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import input_name
from contracts.video_files import VARIANTS, picture_name
from tests.kit import auth
from tests.kit.edge import Edge, picture, submit
from tests.kit.waiting import eventually
from tests.services.edge.body.forms import form, kind, png
from tests.services.edge.talk import ask as raw
from tests.services.edge.talk import get, parsed
from tests.services.edge.test_edge import cluster
from tests.services.edge.v1.asking import SMALL, ask, create, end

UNKNOWN = "video_" + "0" * 32


def job_id_of(video: Any) -> str:
    return video["id"].removeprefix("video_")


async def test_a_form_and_json_become_videos(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    made = await create(client, edge, seed="7", metadata='{"order": "17"}')
    assert made == {
        "id": made["id"], "object": "video", "model": "default", "status": "queued", "progress": 0,
        "created_at": made["created_at"], "completed_at": None, "expires_at": None, "prompt": "a cat", "size": "auto",
        "seconds": "1.5", "remixed_from_video_id": None, "error": None, "queue_position": 1, "eta_seconds": None,
        "num_frames": 25,
        "fps": 16, "seed": 7, "inference_time_s": None, "stage_durations": None, "metadata": {"order": "17"},
    }  # fmt: skip
    await cluster(link)
    body = {
        **SMALL,
        "num_frames": 25,
        "num_inference_steps": 20,
        "input_reference": {"image_url": picture()},
        "size": "256x144",
    }
    code, in_json, headers = await ask(client, edge, "POST", "/videos", json=body)
    assert (code, in_json["size"], in_json["queue_position"]) == (200, "256x144", 2)
    assert headers["openai-poll-after-ms"] == "1000"
    code, again, headers = await ask(client, edge, "GET", f"/videos/{in_json['id']}")
    assert (code, again) == (200, in_json)
    assert headers["openai-poll-after-ms"] == "1000"
    assert (edge.scratch / input_name(job_id_of(in_json), None)).exists() is False  # it has a tag
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(job_id_of(made)))
    assert stored is not None
    assert wire.decode_submission(stored.data).job.prompt == "a cat"


async def test_a_job_of_the_other_interface_is_a_video_too(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    code, video, _ = await ask(client, edge, "GET", f"/videos/video_{job_id}")
    assert (code, video["status"], video["progress"]) == (200, "queued", 0)
    video_id = (await create(client, edge))["id"]
    async with client.get(f"{edge.url}/video/status/{video_id.removeprefix('video_')}") as answer:
        assert (await answer.json())["status"] == "InQueue"


async def test_an_ended_job_is_a_completed_or_a_failed_video(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    done, slow, left = [await create(client, edge) for _ in range(3)]
    await end(link, edge, done)
    await end(link, edge, slow, reason="it ran longer than the 1800 s that a job may")
    async with client.post(f"{edge.url}/video/cancel", json={"requestId": job_id_of(left)}) as answer:
        assert answer.status == 200
    code, video, _ = await ask(client, edge, "GET", f"/videos/{done['id']}")
    assert (code, video["status"], video["progress"], video["size"]) == (200, "completed", 100, "256x144")
    assert (video["completed_at"], video["error"]) == (4_000_000_000, None)
    assert video["expires_at"] > video["created_at"] + 3600
    for each, error in ((slow, "timeout"), (left, "cancelled")):
        code, video, _ = await ask(client, edge, "GET", f"/videos/{each['id']}")
        assert (code, video["status"], video["error"]["code"]) == (200, "failed", error)


async def test_content_has_ranges_and_says_what_is_not_there(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    done, waiting = await create(client, edge), await create(client, edge)
    code, body, headers = await ask(client, edge, "GET", f"/videos/{waiting['id']}/content")
    assert (code, body["error"]["code"]) == (404, "not_ready")
    await end(link, edge, done)
    content = f"/videos/{done['id']}/content"
    code, body, headers = await ask(client, edge, "GET", content, headers={"Range": "bytes=0-9"})
    assert (code, body, headers["content-type"]) == (206, bytes(10), "video/mp4")
    code, body, headers = await ask(client, edge, "HEAD", f"{content}?variant=video")
    assert (code, headers["content-length"]) == (200, "1000")
    for variant in VARIANTS:
        code, body, _ = await ask(client, edge, "GET", f"{content}?variant={variant}")
        assert (code, body["error"]["code"]) == (404, "not_found")
        (edge.videos / picture_name(job_id_of(done), variant)).write_bytes(b"RIFF")
        code, body, headers = await ask(client, edge, "GET", f"{content}?variant={variant}")
        assert (code, body, headers["content-type"]) == (200, b"RIFF", "image/webp")
        code, _, _ = await ask(
            client, edge, "GET", f"{content}?variant={variant}", headers={"If-None-Match": headers["etag"]}
        )
        assert code == 304
    code, body, _ = await ask(client, edge, "GET", f"{content}?variant=3")
    assert (code, body["error"]["param"]) == (400, "variant")
    for file in edge.videos.glob("*.mp4"):
        file.unlink()
    code, body, _ = await ask(client, edge, "GET", content)
    assert (code, body["error"]["code"]) == (410, "gone")


async def test_a_remix_has_the_picture_and_the_fields_and_other_words(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    original = await create(client, edge, metadata='{"a": "b"}', seed="3")
    path, words = f"/videos/{original['id']}/remix", {"prompt": "the cat sleeps"}
    code, body, headers = await ask(client, edge, "POST", path, json=words)
    assert (code, body["error"]["code"], headers["x-should-retry"]) == (409, "not_finished", "false")
    await end(link, edge, original)
    code, video, _ = await ask(client, edge, "POST", path, json=words)
    assert (code, video["remixed_from_video_id"], video["prompt"]) == (200, original["id"], "the cat sleeps")
    assert (video["seed"], video["num_frames"], video["metadata"]) == (3, 25, None)
    assert len({file.read_bytes() for file in edge.scratch.glob("inputs/*")}) == 1
    repeat = {"x-stainless-retry-count": "1"}
    assert (await ask(client, edge, "POST", path, json=words, headers=repeat))[1]["id"] == video["id"]
    assert (await ask(client, edge, "POST", path, json={"prompt": "other"}, headers=repeat))[1]["id"] != video["id"]
    for wrong in ({}, {"prompt": ""}, {"prompt": " "}, {"prompt": "x" * 501}, {"prompt": "a", "seed": 1}, []):
        code, body, _ = await ask(client, edge, "POST", path, json=wrong)
        assert (code, body["error"]["param"]) == (400, "prompt")
    assert (await ask(client, edge, "POST", f"/videos/{UNKNOWN}/remix", json=words))[0] == 404
    for file in edge.scratch.glob(f"inputs/{job_id_of(original)}*"):
        file.unlink()
    assert (await ask(client, edge, "POST", path, json={"prompt": "too late"}))[0] == 410


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_pages_of_the_list_have_each_video_once_in_order_until_it_is_deleted(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    ids = [(await create(client, edge, prompt=f"cat {n}"))["id"] for n in range(5)]
    found: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        after = f"&after={found[-1]}" if found else ""
        _, page, _ = await ask(client, edge, "GET", f"/videos?limit=2&order=asc{after}")
        found += [video["id"] for video in page["data"]]
        assert (page["object"], page["first_id"], page["last_id"]) == ("list", page["data"][0]["id"], found[-1])
    assert found == ids
    assert [video["id"] for video in (await ask(client, edge, "GET", "/videos"))[1]["data"]] == ids[::-1]
    for after in (UNKNOWN, "", "x"):
        assert (await ask(client, edge, "GET", f"/videos?after={after}"))[0] == 404
    for twice in ("/videos?limit=1&limit=2", f"/videos/{UNKNOWN}/content?variant=video&variant=thumbnail"):
        code, body, _ = await ask(client, edge, "GET", twice)
        assert (code, body["error"]["param"]) == (400, twice.partition("?")[2].partition("=")[0])
    assert (await ask(client, edge, "GET", "/videos?status=completed"))[1]["data"] == []
    for wrong in ("limit=0", "limit=101", "limit=x", "order=up", "status=done", "more=1"):
        code, body, _ = await ask(client, edge, "GET", f"/videos?{wrong}")
        assert (code, body["error"]["param"]) == (400, wrong.partition("=")[0])
    deleted = {"id": ids[0], "object": "video.deleted", "deleted": True}
    assert (await ask(client, edge, "DELETE", f"/videos/{ids[0]}"))[:2] == (200, deleted)
    assert (await ask(client, edge, "GET", f"/videos/{ids[0]}"))[0] == 404
    assert (await ask(client, edge, "DELETE", f"/videos/{ids[0]}"))[0] == 404
    assert [video["id"] for video in (await ask(client, edge, "GET", "/videos"))[1]["data"]] == ids[:0:-1]


async def test_models_are_those_of_live_clusters(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    assert (await ask(client, edge, "GET", "/models"))[1] == {"object": "list", "data": []}
    await cluster(link, model="org/pocket")
    model = {"id": "org/pocket", "object": "model", "created": 1, "owned_by": "wanjet"}

    async def listed() -> Any:
        return (await ask(client, edge, "GET", "/models"))[1]["data"]

    assert await eventually(listed) == [model]
    for path in ("/models/org/pocket", "/models/org%2Fpocket"):
        assert (await ask(client, edge, "GET", path))[1] == model
    code, body, _ = await ask(client, edge, "GET", "/models/other")
    assert (code, body["error"]["code"]) == (404, "model_not_found")


FAULTS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"sede": "1"}, 400, "sede", "unknown_parameter"),
    ({"seconds": "60", "num_frames": ""}, 400, "seconds", "invalid_value"),
    ({"size": "big"}, 400, "size", "invalid_value"),
    ({"size": "999x999"}, 400, "size", "invalid_value"),
    ({"model": "sora-2"}, 404, "model", "model_not_found"),
    ({"lora": "x"}, 400, "lora", "unsupported_parameter"),
    ({"prompt": ""}, 400, "prompt", "invalid_value"),
    ({"num_inference_steps": "3"}, 400, "num_inference_steps", "invalid_value"),
    ({"input_reference": ""}, 400, "input_reference", "missing_required_parameter"),
    ({"input_reference": b"text"}, 400, "input_reference", "invalid_value"),
    ({"input_reference[image_url]": "http://127.0.0.1/"}, 400, "input_reference[image_url]", "invalid_value"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault[0])[:40])
async def test_a_faulty_field_has_a_param_and_a_code(
    client: aiohttp.ClientSession, edge: Edge, link: Bus, fault: tuple[dict[str, Any], int, str, str]
) -> None:
    change, status, param, code = fault
    await cluster(link)
    values: dict[str, Any] = {**SMALL, "input_reference": png(), **change}
    body = form(**values)
    answered, refused, _ = await ask(client, edge, "POST", "/videos", data=body, headers=kind("a-boundary"))
    error = refused["error"]
    assert (answered, error["param"], error["code"], error["type"]) == (status, param, code, "invalid_request_error")
    assert "image_size" not in error["message"]
    assert "infer_steps" not in error["message"].replace("num_inference_steps", "")
    assert "*" not in error["message"]


async def test_every_refusal_has_the_form_of_the_dialect(client: aiohttp.ClientSession, edge: Edge) -> None:
    json_type = {"Content-Type": "application/json"}
    known = (await create(client, edge))["id"]
    asked: list[tuple[int, str, str, dict[str, Any]]] = [
        (404, "GET", "/nothing", {}),
        (405, "POST", "/videos/extensions", {"json": {}}),
        (404, "POST", f"/videos/{UNKNOWN}/edits", {"json": {}}),
        (405, "PUT", "/videos", {}),
        (404, "GET", f"/videos/{UNKNOWN}", {}),
        (404, "GET", "/videos/..%2Fmodels", {}),
        (404, "GET", f"/videos/{UNKNOWN}x/content", {}),
        (404, "DELETE", f"/videos/{UNKNOWN}", {}),
        (400, "POST", "/videos", {"data": b"{", "headers": json_type}),
        (415, "POST", "/videos", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
        (415, "POST", "/videos", {"data": b"{}", "headers": {"Content-Type": "multipart/form-data"}}),
        (403, "POST", "/videos", {"json": {}, "headers": {"Sec-Fetch-Site": "cross-site"}}),
        (403, "DELETE", f"/videos/{known}", {"headers": {"Sec-Fetch-Site": "cross-site"}}),
        (413, "POST", f"/videos/{known}/remix", {"json": {"prompt": "x" * 70_000}}),
    ]
    for status, method, path, request in asked:
        code, body, headers = await ask(client, edge, method, path, **request)
        assert (code, set(body)) == (status, {"error"}), path
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["message"] and body["error"]["code"] and headers["x-should-retry"] == "false"


async def test_refusals_ahead_of_the_routes_have_the_form_too(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges(ALLOWED_HOSTS="127.0.0.1")
    await edge.ready(client)
    foreign = await raw(edge, get("/v1/models", "Host: other", "Connection: close"))
    twice = await raw(edge, get("/v1/models", "Host: 127.0.0.1", "Host: 127.0.0.1"))
    long = await raw(edge, get("/v1/models", "Host: 127.0.0.1", "X-Long: " + "x" * 70_000))
    for answer, status in ((foreign, 400), (twice, 400), (long, 431)):
        code, body = parsed(answer)
        assert (code, set(body), set(body["error"])) == (status, {"error"}, {"message", "type", "param", "code"})
    ours = parsed(await raw(edge, get("/health", "Host: other", "Connection: close")))[1]
    assert ours["error"] == "BAD_REQUEST"


async def test_a_full_queue_is_a_rate_limit_that_may_be_tried_again(client: aiohttp.ClientSession, edge: Edge) -> None:
    for _ in range(5):
        await create(client, edge)
    body = form(**SMALL, input_reference=png())
    code, refused, headers = await ask(client, edge, "POST", "/videos", data=body, headers=kind("a-boundary"))
    assert (code, refused["error"]["type"], refused["error"]["code"]) == (429, "rate_limit_error", "queue_full")
    assert int(headers["retry-after"]) > 0
    assert "x-should-retry" not in headers


async def test_a_key_is_the_same_video_whichever_way_it_is_sent(client: aiohttp.ClientSession, edge: Edge) -> None:
    key = {"Idempotency-Key": "k"}
    first = await create(client, edge, headers=key)
    assert (await create(client, edge, boundary="other", headers=key))["id"] == first["id"]
    body = form(**SMALL, seed="1", input_reference=png())
    code, refused, _ = await ask(client, edge, "POST", "/videos", data=body, headers={**kind("a-boundary"), **key})
    assert (code, refused["error"]["code"]) == (422, "idempotency_key_reused")


async def test_other_clients_ways_to_send_a_picture(client: aiohttp.ClientSession, edge: Edge) -> None:
    by_part = form(**SMALL, **{"input_reference[image_url]": picture()})
    by_text = form(**SMALL, image_reference=json.dumps({"image_url": picture()}), width="64", height="48", fps="16")
    for body in (by_part, by_text):
        code, video, _ = await ask(client, edge, "POST", "/videos", data=body, headers=kind("a-boundary"))
        assert (code, video["status"]) == (200, "queued")
    code, video, _ = await ask(client, edge, "POST", "/videos", json={"prompt": "a cat", "reference_url": picture()})
    assert (code, video["seconds"]) == (200, "5")
