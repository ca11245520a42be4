"""Fixtures for tests in a browser: a real Chromium, and a page that reaches the edge and no other host."""

import shutil
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, async_playwright

# The fixtures that a test here asks for by name.
from tests.kit.edge import Edge
from tests.kit.visit import HOST, Visit
from tests.services.edge.conftest import client, edge, edges

__all__ = ["client", "edge", "edges"]

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        here = pytest.mark.skip(reason="NOT TESTED IN A BROWSER: no chromium on PATH (apt-get install chromium)")
        for item in items:
            if item.path.is_relative_to(__file__.rpartition("/")[0]):
                item.add_marker(here)


@pytest.fixture
async def browser() -> AsyncGenerator[Browser, None]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(browser: Browser, edge: Edge) -> Visit:
    visit = Visit(await browser.new_page(), edge)
    await visit.block_other_hosts()
    return visit
