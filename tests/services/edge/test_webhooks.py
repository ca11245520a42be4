"""A job's `webhook_url` is judged at submission, and what became of it is answered."""

from collections.abc import Callable

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.labels import WEBHOOK_URL_CHARS_MAX
from contracts.webhook import WebhookDelivery, WebhookTry
from tests.kit.builders import ID
from tests.kit.edge import PROMPT, Edge, picture, post, submit
from tests.services.edge.live.streams import life, publish

URL = "https://hooks.example.org/done?token=planted-canary"


async def switch_on(link: Bus) -> None:
    await link.put_last(subjects.WEBHOOKS_BUCKET, subjects.WEBHOOKS_SERVICE, b"{}")


async def asked(client: aiohttp.ClientSession, edge: Edge, job_id: str) -> tuple[int, dict[str, object]]:
    async with client.get(f"{edge.url}/video/webhooks/{job_id}") as answer:
        return answer.status, await answer.json()


async def test_an_accepted_job_keeps_its_webhook_in_the_submission_and_not_in_the_status(
    link: Bus, edge: Edge, client: aiohttp.ClientSession
) -> None:
    await switch_on(link)
    code, body = await submit(client, edge, webhook_url=URL)
    assert code == 202
    stored = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(body["requestId"]))
    assert stored is not None
    assert wire.decode_submission(stored.data).webhook_url == URL
    async with client.get(f"{edge.url}/video/status/{body['requestId']}") as answer:
        assert "hooks.example.org" not in await answer.text()
    code, delivery = await asked(client, edge, body["requestId"])
    assert (code, delivery["state"], delivery["host"], delivery["tries"]) == (200, "pending", "hooks.example.org", [])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a.org/", "webhook_url: it must begin with https:// or http:// and begins with ftp:"),
        ("", "may be an http:// or https:// address of up to 2048 characters"),
        ("https://user:secret@a.org/", "webhook_url: it holds a user name or a password"),
        ("https://a..org/", "webhook_url: its host a..org has an empty part"),
        ("https://a.org/" + "x" * WEBHOOK_URL_CHARS_MAX, "may be an http:// or https:// address of up to 2048"),
        (7, "webhook_url was 7; it may be an http:// or https:// address of up to 2048 characters"),
        ("http://127.0.0.1/", "webhook_url: its address or its port is not one that webhooks may be sent to"),
        ("http://0x7f.1/", "webhook_url: its address or its port is not one"),
        ("http://[::ffff:10.0.0.1]/", "webhook_url: its address or its port is not one"),
        ("http://localhost/", "webhook_url: its address or its port is not one"),
        ("https://a.org:22/", "webhook_url: its address or its port is not one"),
    ],
)
async def test_a_webhook_that_may_not_be_sent_is_refused_by_name(
    link: Bus, edge: Edge, client: aiohttp.ClientSession, url: object, words: str
) -> None:
    await switch_on(link)
    code, body = await submit(client, edge, webhook_url=url)
    assert (code, [each["field"] for each in body["details"]]) == (400, ["webhook_url"])
    assert words in body["message"]


async def test_an_operator_may_allow_a_network_and_a_port(
    link: Bus, edges: Callable[..., Edge], client: aiohttp.ClientSession
) -> None:
    edge = edges(OUTBOUND_ALLOWED_NETWORKS="10.0.0.0/8", OUTBOUND_ALLOWED_PORTS="9000")
    await edge.ready(client)
    await switch_on(link)
    assert (await submit(client, edge, webhook_url="http://10.1.2.3:9000/"))[0] == 202


async def test_without_a_webhook_service_webhooks_are_off_and_other_jobs_are_taken(
    link: Bus, edge: Edge, client: aiohttp.ClientSession
) -> None:
    code, body = await submit(client, edge, webhook_url=URL)
    assert (code, [each["field"] for each in body["details"]]) == (400, ["webhook_url"])
    assert "webhooks are off here" in body["message"]
    for left_out in ({}, {"webhook_url": None}):
        assert (await submit(client, edge, **left_out))[0] == 202


async def test_a_repeat_under_a_key_is_answered_whether_webhooks_are_on_or_off(
    link: Bus, edge: Edge, client: aiohttp.ClientSession
) -> None:
    await switch_on(link)
    request = {"webhook_url": URL}
    first = await _keyed(client, edge, request)
    await link.put_last(subjects.WEBHOOKS_BUCKET, subjects.WEBHOOKS_SERVICE, b"")
    assert await _keyed(client, edge, request) == first
    assert (await _keyed(client, edge, {"webhook_url": URL + "2"}))[0] == 422


async def _keyed(client: aiohttp.ClientSession, edge: Edge, fields: dict[str, str]) -> tuple[int, str | None]:
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, **fields}
    code, answer = await post(client, f"{edge.url}/video/submit", body, {"Idempotency-Key": "planted-canary"})
    return code, answer.get("requestId")


async def test_what_was_tried_and_answered_is_told(link: Bus, edge: Edge, client: aiohttp.ClientSession) -> None:
    await publish(link, life(ID)[:1])
    tries = [WebhookTry(number=1, at=10.0, failure="timeout", duration=15.0), WebhookTry(number=2, at=20.0, code=204)]
    delivery = WebhookDelivery(
        job_id=ID, webhook_id=f"{ID}_succeeded", host="a.test", state="delivered", created_at=9.0, tries=tries
    )
    await link.put_last(subjects.DELIVERIES_BUCKET, ID, wire.encode(delivery))
    assert await asked(client, edge, ID) == (
        200,
        {
            "requestId": ID, "webhook_id": f"{ID}_succeeded", "host": "a.test", "state": "delivered",
            "created_at": 9.0, "next_at": None, "tries": [
                {"number": 1, "at": 10.0, "code": None, "failure": "timeout", "duration": 15.0},
                {"number": 2, "at": 20.0, "code": 204, "failure": None, "duration": 0.0},
            ],
        },
    )  # fmt: skip


async def test_a_job_that_is_unknown_or_has_no_webhook_is_a_404(
    link: Bus, edge: Edge, client: aiohttp.ClientSession
) -> None:
    code, body = await submit(client, edge)
    assert code == 202
    assert (await asked(client, edge, body["requestId"]))[0] == 404
    assert (await asked(client, edge, ID))[0] == 404
    assert (await asked(client, edge, "nonsense"))[0] == 400
    await link.put_last(subjects.DELIVERIES_BUCKET, ID, b"nonsense")
    assert (await asked(client, edge, ID))[0] == 404


@pytest.mark.parametrize(("url", "expected"), [("https://bücher.example/猫", 202), ("https://a..org/", 400)])
async def test_the_form_is_judged_in_a_large_body_too(
    link: Bus, edge: Edge, client: aiohttp.ClientSession, url: str, expected: int
) -> None:
    """Such a body is read in a child process."""
    await switch_on(link)
    large = picture() + "\n" * 100_000
    code, body = await submit(client, edge, webhook_url=url, image_url=large)
    assert code == expected, body
