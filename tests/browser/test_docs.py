from playwright.async_api import expect

from services.edge.docs.openapi import document
from tests.kit.visit import Visit

OPERATIONS = sum(len(item) for item in document()["paths"].values())


async def test_the_docs_need_no_other_host_and_complain_of_nothing(visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{visit.url}/docs")
    await expect(page.locator(".opblock")).to_have_count(OPERATIONS)
    await page.locator("#operations-jobs-submitJob .opblock-summary-control").click()
    await expect(page.locator("#operations-jobs-submitJob")).to_contain_text("The job is accepted.")
    await page.locator("#operations-jobs-submitJob .model-example .tablinks", has_text="Schema").first.click()
    await expect(page.locator("#operations-jobs-submitJob")).to_contain_text("Denoising steps.")
    assert (visit.other_hosts, visit.complaints) == ([], [])


async def test_a_request_can_be_tried_from_the_docs(visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{visit.url}/docs#/jobs/submitJob")
    submit = page.locator("#operations-jobs-submitJob")
    await submit.get_by_role("button", name="Try it out").click()
    await submit.get_by_role("button", name="Execute").click()
    await expect(submit.locator(".live-responses-table .response-col_status").last).to_contain_text("202")
    assert (visit.other_hosts, visit.complaints) == ([], [])


async def test_a_browser_reads_the_events_on_a_page_of_their_own(visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{visit.url}/docs/events")
    await expect(page.locator("section#succeeded")).to_contain_text("video.live.{requestId}.finished.succeeded")
    await page.locator("nav a", has_text="step").click()
    await expect(page.locator("section#step h2")).to_be_in_viewport()
    assert await page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none", "its style"
    assert (visit.other_hosts, visit.complaints) == ([], [])
