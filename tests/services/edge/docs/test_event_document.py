"""The catalogue of events, as an edge serves it: an AsyncAPI document for programs, and a page for people."""

import json
import re

import aiohttp
import pytest

from contracts import event_names
from ops import catalogue
from services.edge.docs.event_page import page_of
from services.edge.docs.pages import POLICY
from tests.kit.edge import Edge

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DOCUMENT = json.loads(json.dumps(catalogue.document()))


@pytest.mark.parametrize("accept", ["*/*", "", "application/json", "application/json, text/html;q=0.9", "image/png"])
async def test_every_edge_serves_the_document(edge: Edge, client: aiohttp.ClientSession, accept: str) -> None:
    for path in ("/docs/events", "/docs/events.json"):
        async with client.get(edge.url + path, headers={"Accept": accept}) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert await answer.json() == DOCUMENT
            etag = answer.headers["ETag"]
        async with client.get(edge.url + path, headers={"Accept": accept, "If-None-Match": etag}) as answer:
            assert answer.status == 304


async def test_a_browser_gets_a_page_that_loads_nothing_from_elsewhere(
    edge: Edge, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{edge.url}/docs/events", headers={"Accept": BROWSER}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert (answer.headers["Content-Security-Policy"], answer.headers["Vary"]) == (POLICY, "Accept")
        page, etag = await answer.text(), answer.headers["ETag"]
    loaded = [place for place in re.findall(r'(?:src|href)="([^"#]+)"', page) if place != "data:,"]
    assert set(loaded) == {"/docs/events.css", "/docs/events.json", "/docs"}
    assert "<script" not in page
    assert "<style" not in page
    assert 'style="' not in page
    for path in loaded:
        async with client.get(edge.url + path) as answer:
            assert answer.status == 200
    async with client.get(f"{edge.url}/docs/events", headers={"Accept": BROWSER, "If-None-Match": etag}) as answer:
        assert (answer.status, answer.headers["Vary"]) == (304, "Accept")
    async with client.get(f"{edge.url}/docs/events", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, answer.headers["Vary"]) == (200, "Accept"), "the document is another file"
    async with client.get(f"{edge.url}/docs/events.json", headers={"Accept": BROWSER}) as answer:
        assert answer.content_type == "application/json"


def test_the_page_has_every_event_subject_field_and_example() -> None:
    page = page_of(DOCUMENT).decode()
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert set(event_names.names()) <= anchors
    for channel in DOCUMENT["channels"].values():
        assert f"<code>{channel['address']}</code>" in page
    for schema in DOCUMENT["components"]["schemas"].values():
        assert all(f"<code>{field}</code>" in page for field in schema["properties"])
    assert page.count("<pre>") == len(event_names.names())


def test_the_page_escapes_what_the_document_says() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    text = json.dumps(DOCUMENT).replace("The edge accepted the job.", json.dumps(hostile)[1:-1])
    text = text.replace("A small boat", json.dumps(hostile)[1:-1])
    page = page_of(json.loads(text)).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 1
