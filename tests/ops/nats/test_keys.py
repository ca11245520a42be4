"""`just keys`: a key for each user, none of which is ever overwritten; how processes take theirs; a key that leaks."""

import asyncio
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from contracts.broker import Bus, bus
from contracts.process import credentials
from contracts.process.broker_settings import BrokerSettings, seed_file
from contracts.process.env import BadSetting
from ops import broker as operator
from ops.durability import doubtful, undurable_servers
from ops.nats import keys
from ops.nats.page import PAGE, page
from ops.nats.rights import EDGE, OPERATOR, STATE, SYSTEM, USERS
from tests.kit.broker import Broker
from tests.kit.machine import NATS_SERVER
from tests.kit.process import completed
from tests.kit.waiting import eventually

WITHIN_S = 20


def seeds(folder: Path) -> dict[str, bytes]:
    return {user: seed_file(folder, user).read_bytes() for user in USERS}


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "run `just rights`"


def test_each_user_gets_a_key_that_only_its_owner_may_read(tmp_path: Path) -> None:
    keys.make(tmp_path / "keys")
    assert len(set(seeds(tmp_path / "keys").values())) == len(USERS)
    for user in USERS:
        file = seed_file(tmp_path / "keys", user)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert credentials.fault(str(file)) is None
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for public in (tmp_path / "keys" / "broker").iterdir():
        assert not any(seed.decode() in public.read_text() for seed in seeds(tmp_path / "keys").values())


def test_what_is_there_stays_and_what_is_missing_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    printed = completed("-m", "ops.nats.keys", str(folder), within_s=WITHIN_S).stdout
    assert printed.count("made ") == len(USERS)
    before = seeds(folder)
    conf = folder / "broker" / "nats-server.conf"
    conf.write_text(f"{conf.read_text()}# mine\n")
    seed_file(folder, EDGE).unlink()
    (folder / "broker" / "users.conf").write_text("# of an earlier version\n")
    printed = completed("-m", "ops.nats.keys", str(folder), within_s=WITHIN_S).stdout
    assert (printed.count("made "), printed.count("kept ")) == (1, len(USERS) - 1)
    after = seeds(folder)
    assert after.pop(EDGE) != before.pop(EDGE)
    assert after == before
    assert conf.read_text().endswith("# mine\n")
    assert "$JS.API." in (folder / "broker" / "users.conf").read_text()


@pytest.mark.parametrize("name", ["nats-server.conf", "cluster.conf"])
def test_the_broker_takes_the_configuration(name: str, tmp_path: Path) -> None:
    conf = keys.make(tmp_path / "keys") / name
    variables = {
        "NATS_LISTEN": "127.0.0.1:4222", "NATS_MONITOR": "127.0.0.1:8222", "NATS_STORE": str(tmp_path),
        "NATS_NAME": "n1", "NATS_CLUSTER": "127.0.0.1:6222", "NATS_CLUSTER_PASSWORD": "x",
        "NATS_ROUTES": '["nats://wanjet:x@127.0.0.1:6222"]',
    }  # fmt: skip
    checked = subprocess.run(
        [NATS_SERVER, "-t", "-c", str(conf)], env=variables, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",), ("one", "two")])
def test_without_one_folder_the_usage_is_said(arguments: tuple[str, ...]) -> None:
    ended = completed("-m", "ops.nats.keys", *arguments, within_s=WITHIN_S)
    assert (ended.returncode, ended.stderr.split(":")[0]) == (1, "usage")


def test_a_damaged_key_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "state.nk").write_text("SUgarbage")
    ended = completed("-m", "ops.nats.keys", str(tmp_path), within_s=WITHIN_S)
    assert ended.returncode == 1
    assert "no keys can be made in" in ended.stderr and "garbage" not in ended.stderr
    assert (tmp_path / "state.nk").read_text() == "SUgarbage"


def test_a_process_takes_its_own_key_of_the_folder_unless_it_is_told_another(tmp_path: Path) -> None:
    keys.make(tmp_path)
    assert BrokerSettings().creds(STATE) is None
    assert BrokerSettings(nats_keys=str(tmp_path)).creds(STATE) == str(tmp_path / "state.nk")
    assert BrokerSettings(nats_creds="/other.nk", nats_keys=str(tmp_path)).creds(STATE) == "/other.nk"
    seed_file(tmp_path, STATE).unlink()
    with pytest.raises(BadSetting, match=rf"NATS_KEYS was {tmp_path}; its state.nk is no seed: there is no such file"):
        BrokerSettings(nats_keys=str(tmp_path)).creds(STATE)


@pytest.mark.parametrize(
    "process", ["services.edge", "services.state", "inference.cluster", "ops.provision", "ops.queue"]
)
def test_a_process_without_a_key_in_the_folder_ends_with_one_sentence(process: str, tmp_path: Path) -> None:
    stores = {"VIDEO_STORE_URL": str(tmp_path / "v"), "SCRATCH_STORE_URL": str(tmp_path / "s")}
    arguments = ["1"] if process == "inference.cluster" else []
    ended = completed("-m", process, *arguments, within_s=60, NATS_KEYS=str(tmp_path), **stores)
    assert ended.returncode == 78, ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"NATS_KEYS was {tmp_path}; its ")


async def test_commands_find_the_keys_of_just_up(broker: Broker, link: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANJET_FOLDER", str(broker.keys.parent / "up"))
    (broker.keys.parent / "up").mkdir()
    (broker.keys.parent / "up" / "keys").symlink_to(broker.keys)
    async with operator.answering(operator.Settings(nats_url=broker.address), name="queue") as reader:
        assert (await reader.stream("VIDEO_JOBS")).state.messages == 0


async def test_a_leaked_key_is_put_out_of_use_without_a_restart(broker: Broker, link: Bus, tmp_path: Path) -> None:
    leaked = tmp_path / "leaked.nk"
    leaked.write_bytes(seed_file(broker.keys, OPERATOR).read_bytes())
    stop = asyncio.Event()
    async with bus.connect(broker.address, name=OPERATOR, creds=str(leaked), stop=stop) as thief:
        assert (await thief.stream("VIDEO_JOBS")).state.messages == 0
        seed_file(broker.keys, OPERATOR).unlink()
        broker.renew_users()
        broker.send(signal.SIGHUP)
        await eventually(lambda: not thief.connected, within_s=WITHIN_S)
    async with bus.connect(broker.address, name=OPERATOR, creds=str(leaked), wait=False) as thief:
        await eventually(lambda: thief.complaints.refusal is not None, within_s=WITHIN_S)
    new = str(seed_file(broker.keys, OPERATOR))
    async with asyncio.timeout(WITHIN_S), bus.connect(broker.address, name=OPERATOR, creds=new) as owner:
        assert (await owner.stream("VIDEO_JOBS")).state.messages == 0


async def test_servers_are_asked_over_the_system_account_whether_they_fsync(broker: Broker, tmp_path: Path) -> None:
    async def asked() -> list[str]:
        seed = str(seed_file(broker.keys, SYSTEM))
        async with asyncio.timeout(WITHIN_S), bus.connect(broker.address, name=SYSTEM, creds=seed) as system:
            return await undurable_servers(system)

    assert await asked() == []
    broker.kill()
    conf = broker.keys / "broker" / "nats-server.conf"
    conf.write_text(conf.read_text().replace("sync_interval: always", "sync_interval: 1m"))
    broker.start()
    assert await asked() == ["wanjet"]
    variables = {**broker.environment, "NATS_MONITOR_URLS": ""}
    refused = completed("-m", "ops.provision", within_s=60, **variables)
    assert refused.returncode == 78
    assert "wanjet: no `sync_interval: always` to be seen" in refused.stderr.splitlines()[-1]


def test_servers_that_do_not_answer_are_doubtful() -> None:
    def answer(name: str, *, sync: bool = True, size: int = 3) -> dict[str, object]:
        return {
            "server": {"name": name},
            "data": {"config": {"sync_always": sync}, "meta_cluster": {"cluster_size": size}},
        }

    assert doubtful([answer(name) for name in ("a", "b", "c")]) == []
    assert doubtful([answer("a"), answer("b")]) == ["1 of 3 servers, which do not answer"]
    assert doubtful([answer("a"), answer("b", sync=False), answer("c")]) == ["b"]
    assert doubtful([]) == ["1 of 1 servers, which do not answer"]
