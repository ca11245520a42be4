"""A real Chromium that reaches the edge and no other host, and remembers what a page tried and complained of."""

import shutil
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, Route, async_playwright

# The fixtures that a test here asks for by name.
from tests.services.edge.conftest import Edge, client, edge, edges

__all__ = ["Visit", "client", "edge", "edges"]

CHROMIUM = shutil.which("chromium")
HOST = "wanjet.test"  # a name of its own: on 127.0.0.1 Swagger UI leaves out what it would ask other hosts
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
WITHIN_MS = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        here = pytest.mark.skip(reason="NOT TESTED IN A BROWSER: no chromium on PATH (apt-get install chromium)")
        for item in items:
            if item.path.is_relative_to(__file__.rpartition("/")[0]):
                item.add_marker(here)


class Visit:
    """One page on one edge; `complaints` are what a user would find in the browser's console."""

    def __init__(self, page: Page, edge: Edge) -> None:
        self.page, self.url = page, f"http://{HOST}:{edge.port}"
        self.other_hosts: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def block_other_hosts(self) -> None:
        await self.page.route("**/*", self._pass_or_abort)

    async def _pass_or_abort(self, route: Route, request: Request) -> None:
        if urlsplit(request.url).hostname == HOST or request.url.startswith("data:"):
            await route.continue_()
        else:
            self.other_hosts.append(request.url)
            await route.abort()


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
