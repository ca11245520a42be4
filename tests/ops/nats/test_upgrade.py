"""A store that was filled by a broker without users: all of it is there, and can be worked on, once there are users."""

import asyncio
from pathlib import Path

import aiohttp

from contracts import subjects
from contracts.broker import bus
from ops import provision
from tests.kit import auth
from tests.kit.broker import NATS_SERVER, Broker, NatsServer, provision_settings
from tests.kit.edge import Edge, submit
from tests.kit.process import Process, completed
from tests.kit.waiting import eventually

INCLUDED = 'include "users.conf"\n'


class Open(NatsServer):
    """The broker as it was before: the same configuration without users, on another's store and ports."""

    def __init__(self, later: Broker, folder: Path) -> None:
        text = (later.keys / "broker" / "nats-server.conf").read_text()
        assert INCLUDED in text
        self._conf, self._later = folder / "open.conf", later
        self._conf.write_text(text.replace(INCLUDED, ""))

    def start(self) -> None:
        self.launch([NATS_SERVER, "-c", str(self._conf)], self._later.own_variables)


async def test_jobs_and_statuses_stay_when_rights_are_switched_on(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "jetstream")
    before = Open(broker, tmp_path)
    before.start()
    edge = Edge(tmp_path, broker, NATS_KEYS="")
    stores = {"VIDEO_STORE_URL": str(edge.videos), "SCRATCH_STORE_URL": str(edge.scratch)}
    try:
        async with auth.client_session() as client:
            async with bus.connect(broker.address, name="provision") as link:  # as a process that knows of no keys
                await provision.provision(link, provision_settings(broker))
            edge.start()
            await edge.ready(client)
            accepted = [(await submit(client, edge))[1]["requestId"] for _ in range(3)]
            edge.stop()
            before.kill()

            broker.start()
            again = await asyncio.to_thread(completed, "-m", "ops.provision", within_s=60, **broker.environment)
            assert again.returncode == 0, again.stderr
            state = Process(["-m", "services.state"], tmp_path / "state.log", **broker.environment, **stores).start()
            edge = Edge(tmp_path, broker)
            edge.start()
            try:
                await edge.ready(client)
                await edge_knows(client, edge, accepted)
                cancelled = {"requestId": accepted[0]}
                async with client.post(f"{edge.url}/video/cancel", json=cancelled) as answer:
                    assert answer.status == 200
                async with bus.connect(broker.url, name="test") as link:
                    queued = await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)
                    assert [subjects.job_id_of(job.subject) for job in queued] == accepted[1:]
                    await eventually(lambda: link.get(subjects.STATUS_BUCKET, accepted[0]), within_s=30)
                assert "right_denied" not in state.text + edge.text
            finally:
                state.stop()
                edge.stop()
    finally:
        for process in (edge, before, broker):
            if process.alive:
                process.kill()


async def edge_knows(client: aiohttp.ClientSession, edge: Edge, job_ids: list[str]) -> None:
    for job_id in job_ids:
        async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "InQueue")
