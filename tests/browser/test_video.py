from typing import Any

import aiohttp
import torch
from playwright.async_api import Page

from contracts.broker import Bus
from contracts.job import FPS, video_name, video_url
from inference.leader.mp4 import write_mp4
from tests.kit.edge import Edge, submit
from tests.kit.visit import Visit
from tests.services.edge.test_edge import end_succeeded

FRAMES = 5 * FPS + 1
SEEK_S = 4.0
FRAME_S = 1 / FPS


def brightening() -> torch.Tensor:
    """From black to white, so that every frame is another."""
    return torch.linspace(-1, 1, FRAMES).reshape(1, FRAMES, 1, 1).expand(3, FRAMES, 48, 64)


async def of_video(page: Page, script: str) -> Any:
    return await page.locator("video").evaluate(script)


async def test_a_video_plays_and_seeks(visit: Visit, client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    write_mp4(brightening(), edge.videos / video_name(job_id), lambda _: None)
    await end_succeeded(link, job_id)
    page = visit.page
    await page.goto(visit.url + video_url(job_id))
    await of_video(page, "video => { video.muted = true; return video.play(); }")
    await page.wait_for_function("() => document.querySelector('video').currentTime > 0.2")
    await of_video(page, "video => video.pause()")
    assert await of_video(page, "video => [video.videoWidth, video.videoHeight]") == [64, 48]
    assert await of_video(page, "video => video.seekable.end(0)") >= FRAMES / FPS - FRAME_S
    for seconds in (SEEK_S, 0.5):
        arrived = await of_video(
            page,
            f"video => new Promise(done => {{ video.onseeked = () => done(video.currentTime);"
            f" video.currentTime = {seconds}; }})",
        )
        assert abs(arrived - seconds) < FRAME_S
    assert (visit.other_hosts, visit.complaints) == ([], [])
