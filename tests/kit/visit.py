"""A page in Chromium that reaches the edge and no other host, and records what the page asked for and complained of."""

from urllib.parse import urlsplit

from playwright.async_api import Page, Request, Route

from tests.kit.edge import Edge

HOST = "wanjet.test"  # a name of its own: on 127.0.0.1 Swagger UI leaves out what it would ask other hosts
WITHIN_MS = 20_000


class Visit:
    """One page of a browser, on one edge; `complaints` holds the errors of the browser's console."""

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
