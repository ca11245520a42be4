"""The hostile corpus through a running edge. Raw requests and headers are in test_limited_protocol.py."""

import asyncio
import http.client
import json

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit import auth
from tests.kit.edge import Edge, picture
from tests.services.edge.apart import AVAILABLE, seen_apart
from tests.services.edge.corpus import Case, cases

NAMESPACE_WITHIN_S = 100


def ask(edge: Edge, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
    """The status of a request whose path nobody has tidied up before."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    try:
        connection.request(method, path, body, {**auth.HEADERS, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def body_of(case: Case) -> bytes:
    """Return the body of a case. One that is to be accepted is completed with the fields that the API requires."""
    asked = case.input
    if "body_hex" in asked:
        return bytes.fromhex(asked["body_hex"])
    text = asked["body"]
    if isinstance(text, dict):
        before, char, count, after = text["repeat"]
        text = before + char * count + after
    if case.expect != "accept":
        return text.encode()
    fields = json.loads(text)
    return json.dumps({"prompt": fields["prompt"] + " and some words more", "image_url": picture()}).encode()


def multipart(case: Case) -> tuple[bytes, str]:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../etc/passwd"\r\n\r\nx\r\n'
    body = part * case.input.get("parts", 1)
    return (body if case.input.get("truncate") else body + b"--b--\r\n"), "multipart/form-data; boundary=b"


def verdict(edge: Edge, case: Case) -> int:
    match case.kind:
        case "json" | "id":
            kind = case.input.get("content_type", "application/json")
            headers = {"Content-Type": kind} if kind else {}
            return ask(edge, "POST", case.input["path"], body_of(case), headers)
        case "multipart":  # our API has no forms: 415, whatever is in them
            body, kind = multipart(case)
            return ask(edge, "POST", "/video/submit", body, {"Content-Type": kind})
        case _:
            return ask(edge, "GET", case.input["path"], None, {})


@pytest.mark.parametrize("kind", ["json", "id", "path", "multipart"])
async def test_the_corpus_gets_its_verdicts_from_a_running_edge_and_stores_nothing_that_is_refused(
    edge: Edge, client: aiohttp.ClientSession, link: Bus, kind: str
) -> None:
    wrong: list[tuple[str, int]] = []
    accepted = 0
    for case in cases(kind):
        status = await asyncio.to_thread(verdict, edge, case)
        accepted += status == 202
        expected = {202} if case.expect == "accept" and kind != "multipart" else {400, 404, 405, 415}
        if status not in expected:
            wrong.append((case.name, status))
    assert wrong == []
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == accepted
    assert len(list(edge.scratch.glob("inputs/*"))) == accepted


@pytest.mark.skipif(not AVAILABLE, reason="NOT RUN: the URL corpus needs root and unshare for a network of its own")
def test_no_url_of_the_corpus_reaches_a_canary_through_a_running_edge() -> None:
    """Run an edge in a network namespace with canaries on loopback, metadata and private addresses (SSRF)."""
    seen = seen_apart("tests.services.edge.namespace", within_s=NAMESPACE_WITHIN_S)
    assert seen["mismatches"] == []
    assert seen["canaries_reached"] == []
    assert seen["jobs_stored"] == seen["accepted"] > 0
    assert seen["plain_fetch_reached"] > 0, "the canaries do not bite"
