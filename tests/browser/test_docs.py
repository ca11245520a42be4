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
