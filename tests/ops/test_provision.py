"""Provisioning: a broker that is not there yet, one that refuses, and one that comes back with an empty disk."""

import asyncio
import shutil
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from contracts import inventory, subjects
from contracts.broker import Bus, Unavailable, bus
from ops.provision import Settings, provision, streams, vanished
from tests.kit.broker import Broker, provision_settings
from tests.kit.process import Process, completed
from tests.kit.waiting import eventually
from tests.ops.brokers import JETSTREAM, USER, server
from tests.ops.refusal import ENDS_WITHIN_S, refusal

Account = Callable[[str], dict[str, str]]


@pytest.fixture
def account(tmp_path: Path) -> Generator[Account, None, None]:
    """A broker of that configuration, for the length of the test."""
    with ExitStack() as running:
        yield lambda conf: running.enter_context(server(tmp_path, conf))


async def test_provisioning_goes_on_when_a_broker_that_gave_no_answers_gives_them_again(broker: Broker) -> None:
    settings = provision_settings(broker)
    async with bus.connect(broker.url, name="provision") as link:
        broker.send(signal.SIGSTOP)
        provisioning = asyncio.create_task(provision(link, settings))
        await eventually(lambda: not link.connected)  # longer than one request waits
        broker.send(signal.SIGCONT)
        await asyncio.wait_for(provisioning, 30)
        for config in streams(settings):
            assert (await link.stream(config.name or "")).config.name == config.name
        assert await link.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
        assert await link.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET) is not None


def test_what_the_broker_refuses_is_said_at_once_and_in_one_sentence(broker: Broker) -> None:
    said = refusal(NATS_REPLICAS="3", **broker.environment)
    assert said.startswith("the broker refuses: replicas > 1 not supported")
    assert said.endswith("; set NATS_REPLICAS=1, or form a cluster")


def test_a_wrong_password_ends_provisioning_at_once(account: Account) -> None:
    variables = account(f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{USER}] }} }}")
    wrong = variables["NATS_URL"].replace("u:p@", "u:wrong@")
    said = refusal(NATS_URL=wrong, NATS_MONITOR_URLS=variables["NATS_MONITOR_URLS"])
    assert said.startswith(f"the broker at nats://…@{wrong.partition('@')[2]} refuses these credentials (NATS_URL")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (f"{JETSTREAM}, max_bytes_required: true", "set STREAM_BYTES_MAX"),
        ("max_mem: 64M, max_file: 100M", "lower LOG_BYTES_MAX"),
        (f"{JETSTREAM}, max_streams: 2", f"allow this account {len(inventory.STREAMS)} streams"),
        (f"{JETSTREAM}, max_consumers: 1", "allow this account 2 consumers of a stream"),
    ],
)
def test_a_quota_of_the_account_is_said_with_what_to_set(account: Account, limits: str, said: str) -> None:
    found = refusal(**account(f"accounts {{ A: {{ jetstream: {{ {limits} }}, users: [{USER}] }} }}"))
    assert found.startswith("the broker refuses: ")
    assert said in found


def test_an_account_that_wants_sizes_gets_them_from_a_setting(account: Account) -> None:
    limits = f"{JETSTREAM}, max_bytes_required: true"
    variables = account(f"accounts {{ A: {{ jetstream: {{ {limits} }}, users: [{USER}] }} }}")
    sizes = {"STREAM_BYTES_MAX": "67108864", "LOG_BYTES_MAX": "134217728"}
    ended = completed("-m", "ops.provision", within_s=ENDS_WITHIN_S, **variables, **sizes)
    assert ended.returncode == 0, ended.stderr


def test_an_account_without_jetstream_is_said(account: Account) -> None:
    said = refusal(**account(f"accounts {{ A: {{ users: [{USER}] }} }}"))
    assert "enable JetStream for this account" in said


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ('publish: { deny: "$JS.API.STREAM.CREATE.>" }', "publish to $JS.API.STREAM.CREATE.VIDEO_EVENTS"),
        ('subscribe: { deny: "_INBOX_provision.>" }', "subscribe to _INBOX_provision."),
    ],
)
def test_a_right_that_is_lacking_is_named(account: Account, rights: str, said: str) -> None:
    user = f"{{ user: u, password: p, permissions: {{ {rights} }} }}"
    found = refusal(**account(f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{user}] }} }}"))
    assert found.startswith(f"the broker does not let this user {said}")


async def test_what_vanishes_with_the_brokers_disk_is_made_again_by_whoever_watches(
    broker: Broker, tmp_path: Path
) -> None:
    settings = provision_settings(broker)
    watching = Process(["-m", "ops.provision", "--watch"], tmp_path / "log", **broker.environment).start()
    try:
        async with bus.connect(broker.url, name="test") as link:
            await eventually(lambda: '"provisioned"' in watching.text, within_s=30)
            broker.kill()
            shutil.rmtree(broker.store)
            broker.start()
            await eventually(lambda: all_there(link, settings), within_s=30)
            assert await link.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET) is not None
            await link.admin.delete_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
            await eventually(lambda: all_there(link, settings), within_s=30)
            await link.admin.update_stream((await link.stream(subjects.JOBS_STREAM)).config.evolve(max_msgs=12))
            await link.admin.delete_stream(subjects.CANARY_STREAM)
            await eventually(lambda: all_there(link, settings), within_s=30)
            assert (await link.stream(subjects.JOBS_STREAM)).config.max_msgs == 12
    finally:
        assert watching.stop() == 0


async def test_what_vanishes_while_it_is_made_is_made_anew(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = provision_settings(broker)
    async with bus.connect(broker.url, name="test") as link:
        make, lost = link.admin.add_consumer, list[str]()

        async def make_after_a_loss(stream: str, config: Any) -> Any:
            if not lost:
                lost.append(stream)
                await link.admin.delete_stream(stream)
            return await make(stream, config)

        monkeypatch.setattr(link.admin, "add_consumer", make_after_a_loss)
        await provision(link, settings)
        assert lost
        assert await all_there(link, settings)


async def all_there(link: Bus, settings: Settings) -> bool:
    try:
        return not await vanished(link, settings)
    except Unavailable:  # the broker is away
        return False


async def test_a_consumer_that_is_away_is_told_once(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    async with bus.connect(broker.url, name="test") as link:
        await provision(link, provision_settings(broker))
        await link.admin.delete_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
        for _ in range(4):
            assert await link.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=stop) is None
    assert capsys.readouterr().out.count("pull_refused") == 1


async def test_a_process_that_is_not_let_in_logs_one_line(account: Account, tmp_path: Path) -> None:
    variables = account(f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{USER}] }} }}")
    wrong = variables["NATS_URL"].replace("u:p@", "u:wrong@")
    stores = {"VIDEO_STORE_URL": str(tmp_path), "SCRATCH_STORE_URL": str(tmp_path)}
    state = Process(["-m", "services.state"], tmp_path / "log", NATS_URL=wrong, **stores).start()
    try:
        await eventually(lambda: refused_in(state))
        with pytest.raises(AssertionError):
            await eventually(lambda: len(refused_in(state)) > 1, within_s=4)
        assert "wrong" not in state.text
    finally:
        state.stop()


def refused_in(process: Process) -> list[str]:
    return [line["error"] for line in process.lines if "Authorization Violation" in line.get("error", "")]
