"""A remix on the whole road: the input of a job that succeeded is still there, and makes another video."""

import aiohttp

from contracts.job import input_name, video_name
from tests.kit.road import SIZE, Road

WITHIN_S = 60


async def test_a_finished_job_is_remixed_from_its_own_picture(road: Road, client: aiohttp.ClientSession) -> None:
    job_id = await road.submit(client, seed=3)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert (road.edge.scratch / input_name(job_id)).exists()
    url = f"{road.edge.url}/v1/videos/video_{job_id}"
    async with client.post(f"{url}/remix", json={"prompt": "it turns"}) as answer:
        assert answer.status == 200, await answer.text()
        remix = await answer.json()
    assert (remix["remixed_from_video_id"], remix["size"]) == (f"video_{job_id}", SIZE.replace("*", "x"))
    new_id = remix["id"].removeprefix("video_")
    assert (await road.ended(client, new_id, within_s=WITHIN_S))["status"] == "Succeed"
    both = [(road.videos / video_name(each)).read_bytes() for each in (job_id, new_id)]
    assert both[0] != both[1], "the words count"
    async with client.get(f"{road.edge.url}/v1/videos/{remix['id']}") as answer:
        video = await answer.json()
    assert (video["status"], video["prompt"], video["seed"]) == ("completed", "it turns", 3)
    assert video["inference_time_s"] > 0
    async with client.delete(url) as answer:
        assert answer.status == 200
    assert not list(road.edge.scratch.glob(f"inputs/{job_id}*"))
    assert (road.videos / video_name(new_id)).exists()
