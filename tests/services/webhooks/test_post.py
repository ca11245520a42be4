import json
from ipaddress import ip_network

import pytest

from contracts.outbound.url_policy import UrlPolicy
from services.webhooks.post import Poster
from services.webhooks.schedule import Outcome
from tests.services.webhooks.targets import PATH, Answer, Loopback, endless, says, silent, slow, status

PATIENCE_S = 0.5
BODY = b'{"type":"JobFailed"}'
REDIRECT = status(307, "Location: http://10.0.0.1/")


async def posted(web: Loopback, answer: Answer | None) -> Outcome:
    target = await web.target(answer)
    policy = UrlPolicy((ip_network("127.0.0.0/8"),), frozenset({web.port}))
    async with Poster(policy, within_s=PATIENCE_S) as poster:
        outcome = await poster.post(target.url, BODY, {"webhook-id": "a"})
    assert [request.body for request in target.requests] == ([] if answer is None else [BODY])
    return outcome


@pytest.mark.parametrize(
    ("answer", "code", "failure"),
    [
        (says(status(200)), 200, None),
        (says(status(204)), 204, None),
        (says(status(299)), 299, None),
        (endless, 200, None),
        (says(status(199 + 101), REDIRECT), 300, "redirect"),
        (says(REDIRECT), 307, "redirect"),
        (says(status(304)), 304, "redirect"),
        (says(status(400)), 400, "status"),
        (says(status(410)), 410, "status"),
        (says(status(500)), 500, "status"),
        (silent, None, "timeout"),
        (slow, None, "timeout"),
        (None, None, "unreachable"),
        (says(b""), None, "no_http"),
        (says(b"SSH-2.0-OpenSSH_9.9\r\n"), None, "no_http"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), None, "no_http"),
    ],
)
async def test_every_answer_has_its_outcome(
    web: Loopback, answer: Answer | None, code: int | None, failure: str | None
) -> None:
    outcome = await posted(web, answer)
    assert (outcome.code, outcome.failure) == (code, failure)
    assert 0 <= outcome.duration_s < PATIENCE_S + 1


@pytest.mark.parametrize(
    ("code", "text", "seconds"),
    [
        (429, "120", 120.0), (503, "0", 0.0), (503, "Fri, 01 Jan 2016 00:00:00 GMT", 0.0), (500, "120", None),
        (429, "soon", None), (429, "9" * 5000, None), (429, "-1", None),
    ],
)  # fmt: skip
async def test_retry_after_is_read_where_it_means_something(
    web: Loopback, code: int, text: str, seconds: float | None
) -> None:
    assert (await posted(web, says(status(code, f"Retry-After: {text}")))).retry_after_s == seconds


@pytest.mark.parametrize(
    ("url", "allowed_by"),
    [
        ("http://127.0.0.1/hook", "OUTBOUND_ALLOWED_NETWORKS"),
        ("http://169.254.169.254/latest", "OUTBOUND_ALLOWED_NETWORKS"),
        ("http://[::1]/", "OUTBOUND_ALLOWED_NETWORKS"),
        ("http://localhost/", "OUTBOUND_ALLOWED_NETWORKS"),
        ("https://93.184.216.34:22/", "OUTBOUND_ALLOWED_PORTS"),
        ("http://user@a.test/", None),
    ],
)
async def test_what_the_guard_forbids_is_unreachable_and_the_log_knows_why(url: str, allowed_by: str | None) -> None:
    async with Poster(UrlPolicy((), frozenset()), within_s=PATIENCE_S) as poster:
        outcome = await poster.post(url, BODY, {})
    assert (outcome.code, outcome.failure, outcome.allowed_by) == (None, "unreachable", allowed_by)
    assert outcome.why


async def test_a_name_that_leads_to_a_private_address_is_unreachable(web: Loopback) -> None:
    target = await web.target(says(status(200)))

    async def lookup(_: str) -> list[str]:
        return ["127.0.0.2"]

    async with Poster(UrlPolicy((), frozenset({web.port})), within_s=PATIENCE_S) as poster:
        poster._client._lookup = lookup
        outcome = await poster.post(f"http://hook.test:{web.port}{PATH}", BODY, {})
    assert (outcome.failure, outcome.why) == ("unreachable", "address 127.0.0.2")
    assert target.requests == []


async def test_a_target_that_speaks_no_tls_is_told_apart(web: Loopback) -> None:
    target = await web.target(says(status(200)))
    policy = UrlPolicy((ip_network("127.0.0.0/8"),), frozenset({web.port}))
    async with Poster(policy, within_s=PATIENCE_S) as poster:
        outcome = await poster.post(target.url.replace("http:", "https:"), BODY, {})
    assert outcome.failure in ("tls", "timeout")
    assert target.requests == []


async def test_a_post_says_who_we_are_and_what_it_carries(web: Loopback) -> None:
    target = await web.target(says(status(200)))
    policy = UrlPolicy((ip_network("127.0.0.0/8"),), frozenset({web.port}))
    async with Poster(policy, contact="ops@example.org", within_s=PATIENCE_S) as poster:
        await poster.post(target.url, BODY, {"webhook-id": "a"})
    (request,) = target.requests
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].endswith("(+ops@example.org)")
    assert request.headers["webhook-id"] == "a"
    assert json.loads(request.body) == {"type": "JobFailed"}
