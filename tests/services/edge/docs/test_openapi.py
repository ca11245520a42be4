import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts import subjects
from contracts.broker import Bus
from contracts.events import JobReleased, JobSucceeded, StepCompleted, SubmissionUnknown
from contracts.fold import fold_all
from contracts.job import JobRequest
from services.edge.app import ROUTERS
from services.edge.body.idempotency import KEY_CHARS_MAX
from services.edge.body.submission import parse
from services.edge.docs.examples import JOB_ID
from services.edge.docs.field_docs import MEANINGS
from services.edge.docs.openapi import document
from services.edge.docs.pages import POLICY
from services.edge.errors import Invalid
from tests.kit import auth
from tests.kit.edge import PROMPT, Edge, picture

DOCUMENT = document()
REQUEST = DOCUMENT["components"]["schemas"]["JobRequest"]
SUBMIT = DOCUMENT["paths"]["/video/submit"]["post"]
RETENTION_S = 1800


def within(node: Any) -> Iterator[Any]:
    """Yield every object of the document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from within(child)


def resolved(node: Any) -> Any:
    """Return the target of a `$ref`, or the part itself if it is not one."""
    if "$ref" not in node:
        return node
    found = DOCUMENT
    for name in node["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_the_document_has_the_routes_and_their_methods_and_no_others() -> None:
    registered = {
        (documented_path(route.path_format), method)
        for router in ROUTERS
        for route in router.routes
        for method in route.methods  # pyright: ignore[reportAttributeAccessIssue]
        if method != "OPTIONS"  # Litestar's own
    }
    documented = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    heads = {(path, "HEAD") for path, method in documented if method == "GET"}
    assert registered <= documented | heads
    assert documented <= registered | heads


def documented_path(path: str) -> str:
    renamed = (
        path.replace("{job_id}", "{id}").replace("{video_id}", "{id}").replace("/models/{name}", "/models/{model}")
    )
    return renamed.replace("/videos/{name}", "/videos/{id}.mp4")


def test_every_field_is_explained_and_nothing_else() -> None:
    for struct, meanings in MEANINGS.items():
        assert set(struct.__struct_encode_fields__) == set(meanings), struct


def test_limits_and_defaults_are_those_of_the_types() -> None:
    own = msgspec.json.schema_components([JobRequest])[1]["JobRequest"]
    assert list(REQUEST["properties"]) == list(own["properties"])
    assert REQUEST["required"] == own["required"]
    assert REQUEST["additionalProperties"] is False
    for name, limits in own["properties"].items():
        documented = REQUEST["properties"][name]
        assert documented.get("default") == limits.get("default")
        if "type" in limits:
            may_be = [limits["type"]] if name in own["required"] else [limits["type"], "null"]
            assert documented["type"] in (may_be, may_be[0])
        for limit in ("minimum", "maximum", "minLength", "maxLength"):
            if limit in limits and (name, limit) != ("prompt", "minLength"):  # the rule asks for more than the type
                assert documented[limit] == limits[limit]
    assert SUBMIT["parameters"][0]["schema"]["maxLength"] == KEY_CHARS_MAX


def test_patterns_are_those_of_json_schema() -> None:
    patterns = [node["pattern"] for node in within(DOCUMENT) if isinstance(node.get("pattern"), str)]
    assert len(patterns) > 3
    assert not any(r"\Z" in pattern for pattern in patterns)


def test_every_example_fits_its_schema() -> None:
    seen = 0
    for node in within(DOCUMENT):
        if "schema" not in node:
            continue
        examples = [one["value"] for one in node.get("examples", {}).values()]
        for example in [*examples, *([node["example"]] if "example" in node else [])]:
            validator(node["schema"]).validate(example)
            seen += 1
    assert seen > 30


def test_the_examples_of_a_submission_are_accepted() -> None:
    for example in SUBMIT["requestBody"]["content"]["application/json"]["examples"].values():
        assert parse(msgspec.json.encode(example["value"]))


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "abc"}, {"prompt": None}, {"num_frames": 23},
        {"num_frames": 121}, {"infer_steps": 19}, {"guidance_scale": 0.9},
        {"sample_shift": 11}, {"seed": -1}, {"seed": 2**31}, {"image_size": "x"}, {"sample_solver": "ddim"},
        {"negative_prompt": "x" * 501}, {"keep_aspect": "yes"}, {"start_step": -1}, {"ulysses_size": 0}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_document_and_parser_refuse_the_same(change: dict[str, Any]) -> None:
    body = {"prompt": PROMPT, "image_url": picture(), **change}
    assert not validator(REQUEST).is_valid(body)
    with pytest.raises(Invalid):
        parse(msgspec.json.encode(body))


@pytest.mark.parametrize(
    "change",
    [
        {"sample_solver": "dpmpp"}, {"num_frames": 24}, {"image_size": "auto"}, {"prompt": "海浪拍打沙滩"},
        *({name: None} for name in JobRequest.__struct_fields__ if name not in REQUEST["required"]),
    ],
    ids=str,
)  # fmt: skip
def test_document_and_parser_accept_the_same(change: dict[str, Any]) -> None:
    body = {"prompt": PROMPT, "image_url": picture(), **change}
    assert validator(REQUEST).is_valid(body)
    assert parse(msgspec.json.encode(body))


async def answers_as_documented(
    client: aiohttp.ClientSession, edge: Edge, method: str, path: str, route: str, **request: Any
) -> tuple[int, Any]:
    """Ask, hold the answer against the document, and return it."""
    async with client.request(method, edge.url + path, **request) as answer:
        body = await answer.read()
        documented = resolved(DOCUMENT["paths"][route][method.lower()]["responses"][str(answer.status)])
        optional = {"Idempotent-Replayed", "RateLimit", "RateLimit-Policy"}
        assert all(name in answer.headers for name in set(documented["headers"]) - optional)
        if "content" not in documented:
            assert body == b""
            return answer.status, None
        media = documented["content"][answer.content_type]
        value = json.loads(body) if answer.content_type == "application/json" else body.decode()
        validator(media["schema"]).validate(value)
        return answer.status, value


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_answers_are_as_documented(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    async def ask(method: str, path: str, route: str = "", **request: Any) -> tuple[int, Any]:
        return await answers_as_documented(client, edge, method, path, route or path, **request)

    async def submit(body: Any, **headers: str) -> tuple[int, Any]:
        return await ask("POST", "/video/submit", json=body, headers=headers)

    example = SUBMIT["requestBody"]["content"]["application/json"]["examples"]["a short video"]["value"]
    status, accepted = await submit(example, **{"Idempotency-Key": "k"})
    assert status == 202
    assert await submit(example, **{"Idempotency-Key": "k"}) == (202, accepted)
    assert (await submit({**example, "seed": 1}, **{"Idempotency-Key": "k"}))[0] == 422
    assert (await submit({"num_frames": 7}))[0] == 400
    assert (await submit(example, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await ask("POST", "/video/submit", data="text"))[0] == 415
    assert (await ask("POST", "/video/status", json={"requestId": "0" * 65536}))[0] == 413
    at, video = ("/video/status/", "/video/status/{id}"), ("/videos/", "/videos/{id}.mp4")
    events, socket = ("/video/events/", "/video/events/{id}"), ("/video/ws/", "/video/ws/{id}")
    for job, expected in ((accepted["requestId"], 200), ("0" * 32, 404)):
        assert (await ask("POST", "/video/status", json={"requestId": job}))[0] == expected
        assert (await ask("GET", at[0] + job, at[1]))[0] == expected
        assert (await ask("POST", "/video/cancel", json={"requestId": job}))[0] == expected
        assert (await ask("GET", at[0] + job[:31] + "X", at[1]))[0] == 400
        assert (await ask("GET", f"{video[0]}{job}.mp4", video[1]))[0] == 404
        assert (await ask("HEAD", f"{video[0]}{job}.mp4", video[1]))[0] == 404
        assert (await ask("GET", events[0] + job, events[1]))[0] == expected
        assert (await ask("HEAD", events[0] + job, events[1]))[0] == expected
        assert (await ask("GET", socket[0] + job, socket[1]))[0] == 426
    ending = await link.last(subjects.EVENTS_STREAM, subjects.endings_of(accepted["requestId"]))
    assert ending is not None
    last = {"Last-Event-ID": str(ending.sequence)}
    assert (await ask("GET", events[0] + accepted["requestId"], events[1], headers=last))[0] == 204
    assert (await ask("GET", events[0] + "x", events[1]))[0] == 400
    assert (await ask("GET", "/video/events"))[0] == 403
    assert (await ask("GET", f"{at[0]}{accepted['requestId']}?wait=x", at[1]))[0] == 400
    for path in (
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/docs",
        "/docs/openapi.json",
        "/openapi.json",
        "/docs/events.json",
    ):
        assert (await ask("GET", path))[0] == 200
    assert (await ask("GET", "/", allow_redirects=False))[0] == 307
    for kind in ("text/html", "application/json"):
        assert (await ask("GET", "/docs/events", headers={"Accept": kind}))[0] == 200
    for kind in ("text/plain", "application/openmetrics-text"):
        assert (await ask("GET", "/metrics", headers={"Accept": kind}))[0] == 200
    (edge.videos / f"{'0' * 32}.mp4").write_bytes(bytes(100))
    for headers, expected in (
        ({"Range": "bytes=0-9"}, 206),
        ({"Range": "bytes=100-"}, 416),
        ({"If-None-Match": "*"}, 304),
    ):
        assert (await ask("HEAD", f"/videos/{'0' * 32}.mp4", video[1], headers=headers))[0] == expected
    for _ in range(4):
        await submit(example)


async def test_answers_of_v1_are_as_documented(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    async def ask(method: str, path: str, route: str = "", **request: Any) -> tuple[int, Any]:
        return await answers_as_documented(client, edge, method, f"/v1{path}", f"/v1{route or path}", **request)

    video, unknown = "/videos/{id}", "video_" + "0" * 32
    body = DOCUMENT["paths"]["/v1/videos"]["post"]["requestBody"]["content"]["application/json"]
    example = body["examples"]["a picture"]["value"]
    status, made = await ask("POST", "/videos", json=example)
    assert status == 200
    for wrong, expected in (({**example, "fps": 24}, 400), ({**example, "prompt": 1}, 400)):
        assert (await ask("POST", "/videos", json=wrong))[0] == expected
    assert (await ask("POST", "/videos", json=example, headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await ask("POST", "/videos", data="text"))[0] == 415
    assert (await ask("GET", "/videos"))[0] == 200
    assert (await ask("GET", "/videos?limit=0", "/videos"))[0] == 400
    assert (await ask("GET", f"/videos?after={unknown}", "/videos"))[0] == 404
    assert (await ask("GET", "/models"))[0] == 200
    assert (await ask("GET", "/models/none", "/models/{model}"))[0] == 404
    for each, expected in ((made["id"], 200), (unknown, 404)):
        path = f"/videos/{each}"
        assert (await ask("GET", path, video))[0] == expected
        assert (await ask("GET", f"{path}/content", f"{video}/content"))[0] == 404
        assert (await ask("HEAD", f"{path}/content", f"{video}/content"))[0] == 404
        remixed = await ask("POST", f"{path}/remix", f"{video}/remix", json={"prompt": "other words"})
        assert remixed[0] == (409 if expected == 200 else 404)
        assert (await ask("DELETE", path, video))[0] == expected
    for _ in range(6):
        status, _ = await ask("POST", "/videos", json=example)
    assert status == 429


@auth.WITHOUT_KEYS  # with keys the document says that one is needed
async def test_the_page_is_made_of_our_own_files(client: aiohttp.ClientSession, edge: Edge) -> None:
    async def get(path: str, **headers: str) -> tuple[int, bytes, str]:
        async with client.get(edge.url + path, headers=headers) as answer:
            assert answer.headers["Content-Security-Policy"] == POLICY
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            return answer.status, await answer.read(), answer.headers["ETag"]

    _, page, _ = await get("/docs")
    assert b"//" not in page
    loaded = re.findall(r'(?:src|href)="(/[^"]*)"', page.decode())
    assert len(loaded) == 3
    for path in ["/docs", "/docs/openapi.json", *loaded]:
        status, content, etag = await get(path)
        assert (status, len(content) > 100) == (200, True)
        assert (await get(path, **{"If-None-Match": etag}))[:2] == (304, b"")
    assert msgspec.json.decode((await get("/docs/openapi.json"))[1]) == json.loads(json.dumps(DOCUMENT))


async def test_an_edge_that_asks_for_keys_says_so_in_the_document(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys")
    await edge.ready(client)
    async with client.get(f"{edge.url}/openapi.json") as answer:
        served = await answer.json()
    assert served == json.loads(json.dumps(document(needs_key=True)))
    asked = [operation["security"] for item in served["paths"].values() for operation in item.values()]
    assert {json.dumps(each) for each in asked} == {"[]", '[{"key": []}]'}


@pytest.mark.parametrize("name", ["..%2fopenapi.py", "__init__.py", "pages.py", "%00", "x" * 300])
async def test_nothing_else_of_the_package_is_served(client: aiohttp.ClientSession, edge: Edge, name: str) -> None:
    async with client.get(f"{edge.url}/docs/{name}") as answer:
        assert answer.status == 404


def test_the_finished_example_is_what_comes() -> None:
    """Made by the very fold that makes the answers."""
    content = DOCUMENT["paths"]["/video/status/{id}"]["get"]["responses"]["200"]["content"]["application/json"]
    shown = content["examples"]["succeeded"]["value"]
    results = shown["results"]
    made = {name: results[name] for name in results if name not in ("video_url", "video_path")}
    ending = JobSucceeded(
        job_id=JOB_ID, at=shown["updated_at"], attempt=1, instance="c1", sha256="", **made,
        video_url=results["video_url"], video_path=results["video_path"],
    )  # fmt: skip
    submitted = SubmissionUnknown(job_id=JOB_ID, created_at=shown["created_at"])
    step = StepCompleted(job_id=JOB_ID, at=shown["created_at"] + 1, attempt=1, step=30, steps=30, progress=0.6)
    released = JobReleased(job_id=JOB_ID, at=shown["created_at"] + 2, attempt=1, instance="c1")
    folded = msgspec.to_builtins(fold_all([submitted, step, released, ending]))
    assert {**folded, "expires_at": shown["updated_at"] + RETENTION_S} == shown, "the edge adds when it expires"


def test_no_key_is_filled_in_for_whoever_tries_the_page() -> None:
    parameter = SUBMIT["parameters"][0]
    assert not {"example", "examples"} & set(parameter) and not {"example", "default"} & set(parameter["schema"])


def test_the_first_example_is_short_enough_for_the_model_that_comes_along() -> None:
    examples = SUBMIT["requestBody"]["content"]["application/json"]["examples"]
    first = next(iter(examples.values()))["value"]
    assert (first["num_frames"], first["infer_steps"], "image_size" in first) == (25, 20, False)


def test_a_video_has_a_schema_for_makers_of_clients() -> None:
    answers = DOCUMENT["paths"]["/videos/{id}.mp4"]["get"]["responses"]
    for status in ("200", "206"):
        assert answers[status]["content"]["video/mp4"]["schema"] == {"type": "string", "format": "binary"}
