"""The whole service over TLS: a broker with mutual certificates under the nkeys, and an edge that asks for keys."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncGenerator, Generator

import aiohttp
import pytest

from contracts.broker import bus
from contracts.process.broker_settings import seed_file
from tests.flow.test_readme import EDGE
from tests.flow.test_services import figures
from tests.kit.auth import bearer, known
from tests.kit.certificates import Files, made
from tests.kit.encrypted_broker import EncryptedBroker
from tests.kit.machine import REPOSITORY
from tests.kit.pages import blocks
from tests.kit.process import environment
from tests.kit.road import LONG, Road
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import following
from tests.services.webhooks.jobs import Service
from tests.services.webhooks.targets import OK, Loopback, loopback, says

TENANT, LIMIT = "acme", 3
WITHIN_S = 60
SERVICES = ("edge", "state", "cluster", "webhooks")


@pytest.fixture(scope="module")
def web() -> Loopback:
    return Loopback()


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, web: Loopback) -> Generator[Road, None, None]:
    """A road with a webhook service, encrypted but for webhooks. No monitor of the broker is asked."""
    folder = tmp_path_factory.mktemp("encrypted")
    variables = {"AUTH": "keys", "NATS_MONITOR_URLS": "", **Files(folder, made()).variables, **web.environment}
    road = Road(folder, EncryptedBroker(folder / "jetstream"), **variables)
    with road.running():
        road.start(Service(road.broker, folder / "webhooks.log", **web.environment))
        yield road


@pytest.fixture(scope="module")
def key(road: Road) -> str:
    """A key of a tenant who may have `LIMIT` unfinished jobs."""
    road.run("-m", "ops.key", "limits", TENANT, "--jobs", str(LIMIT))
    return road.run("-m", "ops.key", "create", "of a test", "--tenant", TENANT).stdout.strip()


@pytest.fixture
async def client(road: Road, key: str) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """A client with the key, which trusts the edge's certificate alone."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=road.variables["TLS_CERT"]))
    timeout = aiohttp.ClientTimeout(30)
    async with aiohttp.ClientSession(connector=connector, headers=bearer(key), timeout=timeout) as client:
        await road.edge.ready(client)
        await road.live(client)
        await known(client, road.edge.url, bearer(key))
        yield client


async def test_a_job_is_submitted_followed_downloaded_listed_and_posted(
    road: Road, client: aiohttp.ClientSession, web: Loopback
) -> None:
    async with loopback(web):
        target = await web.target(says(OK))
        job_id = await road.submit(client, webhook_url=target.url)
        async with following(client, road.edge, job_id) as events, asyncio.timeout(WITHIN_S):
            kinds = [event.event for event in await events.rest()]
        await eventually(lambda: target.of(job_id), within_s=WITHIN_S)
    assert (kinds[0], kinds[-1]) == ("submitted", "succeeded") and "step" in kinds
    assert json.loads(target.of(job_id)[0].body)["type"] == "JobSucceeded"

    results = (await road.ended(client, job_id))["results"]
    whole = (road.videos / f"{job_id}.mp4").read_bytes()
    for asked, expected, status in ((None, whole, 200), ("bytes=10-99", whole[10:100], 206)):
        headers = {} if asked is None else {"Range": asked}
        async with client.get(road.edge.url + results["video_url"], headers=headers) as answer:
            assert (answer.status, await answer.read()) == (status, expected)
    async with client.get(f"{road.edge.url}/v1/videos") as answer:
        listed = [(each["id"], each["status"]) for each in (await answer.json())["data"]]
    assert (f"video_{job_id}", "completed") in listed


async def test_a_job_outlives_a_broker_that_is_killed_as_it_runs(road: Road, client: aiohttp.ClientSession) -> None:
    """Every process connects anew, again over TLS."""
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 2)
    road.broker.kill()
    road.broker.start()
    ended = await road.ended(client, job_id, within_s=2 * WITHIN_S)
    assert (ended["status"], ended["attempt"]) == ("Succeed", 1)


async def test_who_shows_no_key_or_speaks_plain_http_gets_nothing(road: Road, client: aiohttp.ClientSession) -> None:
    async with aiohttp.ClientSession(connector=client.connector, connector_owner=False) as stranger:
        for path in ("/video/events", "/v1/videos", f"/video/status/{1:032x}"):
            async with stranger.get(road.edge.url + path) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await stranger.get(road.edge.url.replace("https://", "http://") + "/livez")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.get(f"{road.edge.url}/livez", ssl=ssl.create_default_context())
    assert await road.edge.answers(client, "/livez")


async def test_the_examples_with_a_key_run_as_printed(road: Road, client: aiohttp.ClientSession, key: str) -> None:
    job_id = await road.submit(client)
    assert (await road.ended(client, job_id))["status"] == "Succeed"
    trusted = {"CURL_CA_BUNDLE": road.variables["TLS_CERT"], "SSL_CERT_FILE": road.variables["TLS_CERT"]}
    for words, command, printed in (
        ("/v1/videos?limit=2", ("bash", "-euc"), f'"id":"video_{job_id}"'),
        ("/v1/models", (sys.executable, "-c"), ""),
        ("client.videos.list()", (sys.executable, "-W", "ignore", "-c"), "'completed'"),
    ):
        (block,) = [each.text for each in blocks(REPOSITORY / EDGE) if words in each.text and "WANJET_KEY" in each.text]
        done = await asyncio.create_subprocess_exec(
            *command,
            block.replace("http://127.0.0.1:8088", road.edge.url),
            env=environment(WANJET_KEY=key, **trusted),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(done.communicate(), WITHIN_S)
        assert (done.returncode, printed in out.decode()) == (0, True), (out, err)


async def test_the_commands_of_operators_reach_the_broker_by_the_same_variables(
    road: Road, client: aiohttp.ClientSession, key: str
) -> None:
    job_id = await road.submit(client)
    assert (await road.ended(client, job_id))["status"] == "Succeed"
    await eventually((road.videos / f"{job_id}.json").exists, within_s=WITHIN_S)
    for words, said in (
        (("ops.key", "list"), f"{TENANT:8}{LIMIT}"),
        (("ops.events", job_id), "finished.succeeded"),
        (("ops.queue",), "0 wait"),
        (("ops.slots",), "no slot is taken"),
        (("ops.replay",), "folded"),
        (("ops.rebuild",), "already in the log"),
        (("ops.provision",), "provisioned"),
    ):
        done = await asyncio.to_thread(road.run, "-m", *words)
        assert said in done.stdout + done.stderr, words
        assert "eof_received" not in done.stdout + done.stderr
    assert (await road.status(client, job_id))["status"] == "Succeed"


async def test_processes_answer_nats_service_and_log_no_complaint(road: Road, client: aiohttp.ClientSession) -> None:
    assert isinstance(road.broker, EncryptedBroker)
    creds, tls = str(seed_file(road.broker.keys, "operator")), road.broker.context()
    async with bus.connect(road.broker.address, name="operator", creds=creds, tls=tls) as link:
        for service in SERVICES:
            assert await figures(link, service)
    for log in road.folder.glob("*.log"):
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        assert lines and not [line for line in lines if line.get("logger") == "asyncio"], log
