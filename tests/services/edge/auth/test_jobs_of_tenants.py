"""The limits of tenants' unfinished jobs where keys are asked for: a tenant's own, and that of the edges."""

import asyncio
from collections import Counter
from collections.abc import Callable

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from contracts.job_log import JobLog
from ops import provision
from ops.key_entries import limit
from tests.kit.auth import known
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import PROMPT, Edge, picture, post
from tests.services.edge.auth.holders import holder

AT_ONCE = 200
BODY = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25}


@pytest.mark.timeout(240)
async def test_each_of_two_tenants_gets_as_many_unfinished_jobs_as_it_may_over_three_edges(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker, link: Bus
) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=50))
    await limit(link, "few", {"jobs_max": 2})
    keys = {"few": await holder(link, "few"), "usual": await holder(link, "usual")}
    three = [edges(AUTH="keys", TENANT_JOBS_MAX="3") for _ in range(3)]
    for edge in three:
        await edge.ready(client)
        await known(client, edge.url, keys["usual"])
    answers, ids = Counter[tuple[str, int, str]](), dict[str, str]()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as many:

        async def one(number: int) -> None:
            tenant = ("few", "usual")[number % 2]
            code, said = await post(many, f"{three[number % 3].url}/video/submit", BODY, keys[tenant])
            answers[tenant, code, said.get("error", "")] += 1
            if code == 202:
                ids[said["requestId"]] = tenant

        await asyncio.gather(*map(one, range(AT_ONCE)))
        assert answers == {
            ("few", 202, ""): 2,
            ("few", 429, "TENANT_BUSY"): AT_ONCE // 2 - 2,
            ("usual", 202, ""): 3,
            ("usual", 429, "TENANT_BUSY"): AT_ONCE // 2 - 3,
        }
        of_few = next(job_id for job_id, tenant in ids.items() if tenant == "few")
        code, _ = await post(many, f"{three[0].url}/video/cancel", {"requestId": of_few}, keys["few"])
        assert code == 200
        assert [(await post(many, f"{three[1].url}/video/submit", BODY, key))[0] for key in keys.values()] == [202, 429]
    slots = await JobLog(link, "test").slots.all()
    assert Counter(slot.tenant for slot in slots) == {"few": 2, "usual": 3}
    assert len(await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)) == len(slots)
