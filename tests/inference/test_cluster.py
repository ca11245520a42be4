"""Groups of ranks on this machine: what ends them, what follows one that fails, and what becomes of a wrong setting."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from contracts.process.start import EX_CONFIG, left
from tests.kit.machine import REPOSITORY, UNKNOWN_HOST
from tests.kit.process import Process, cluster_parts, completed, environment
from tests.kit.waiting import eventually

WITHIN_S = 60
RANKS_THAT_MEET = """
import os, signal, sys
import torch.distributed as dist
from inference import cluster
from inference.ranks import agent

ENDS = sys.argv[1]

def rank(on_running):
    if ENDS == "before it runs":
        sys.exit(3)
    dist.init_process_group("gloo")
    dist.barrier()
    os.write(1, b"met %d\\n" % dist.get_world_size())  # at once: both ranks write there
    on_running()
    if ENDS == "by a signal":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pause()

if ENDS == "in another process":
    agent._device_survived_fork = lambda: False
    agent.FRESH_RANK = "import os; os.write(1, b'fresh rank\\\\n'); os._exit(80)"
cluster.prepare(2)
sys.exit(cluster.run(2, rank))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Process, None, None]:
    """A cluster of two ranks that meet and wait for SIGTERM."""
    process = Process(["-c", RANKS_THAT_MEET, "by a signal"], tmp_path / "log", TEST_FOLDER=str(tmp_path)).start()
    yield process
    if process.alive:
        process.kill()


def parts(cluster: Process) -> dict[str, int]:
    """The pids of the cluster's processes, by name."""
    return cluster_parts("TEST_FOLDER", str(cluster.log.parent))


async def met(cluster: Process, groups: int = 1) -> dict[str, int]:
    """Wait until that many groups have met, and return the pids of the last one."""
    await eventually(lambda: cluster.text.count("met 2") == 2 * groups, within_s=WITHIN_S)
    await eventually(lambda: set(parts(cluster)) == {"torchrun", "rank 0", "rank 1"}, within_s=WITHIN_S)
    return parts(cluster)


@pytest.mark.parametrize("killed", ["rank 1", "torchrun"])
async def test_a_group_that_fails_is_followed_by_another_in_the_same_process(cluster: Process, killed: str) -> None:
    first = await met(cluster)
    os.kill(first[killed], signal.SIGKILL)
    second = await met(cluster, groups=2)
    assert not set(first.values()) & set(second.values())
    assert [line["event"] for line in cluster.lines].count("group_starts_again") == 1
    assert cluster.stop() == 0
    assert parts(cluster) == {}


async def test_nothing_is_left_of_a_cluster_that_is_killed(cluster: Process) -> None:
    await met(cluster)
    cluster.kill()
    await eventually(lambda: not parts(cluster), within_s=WITHIN_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_the_ranks_in_order(cluster: Process, number: int) -> None:
    await met(cluster)
    assert cluster.stop(number) == 0
    assert parts(cluster) == {}


@pytest.mark.parametrize(
    ("ends", "code", "seen"),
    [("before it runs", 1, ""), ("by itself", 0, "met 2\n"), ("in another process", 0, "fresh rank\n")],
)
def test_a_group_that_ends_by_itself_is_followed_by_none(ends: str, code: int, seen: str) -> None:
    ended = completed("-c", RANKS_THAT_MEET, ends, within_s=WITHIN_S)
    assert ended.returncode == code, ended.stderr
    assert "group_starts_again" not in ended.stdout
    assert seen in ended.stdout


@pytest.mark.parametrize("ranks", ["0", "1025", "many", ""])
def test_a_number_of_ranks_that_cannot_be_is_refused(ranks: str) -> None:
    ended = completed("-m", "inference.cluster", ranks, within_s=WITHIN_S)
    assert ended.returncode == EX_CONFIG
    assert ended.stderr.startswith("RANKS ")
    assert ended.stderr.endswith("a whole number from 1 to 1024\n")


def test_a_setting_that_is_wrong_for_so_many_ranks_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    arguments = ("-X", "importtime", "-m", "inference.cluster", "2")
    ended = completed(*arguments, within_s=WITHIN_S, PLAN="cfg=3", WANJET_REFUSALS=str(tmp_path))
    assert ended.returncode == EX_CONFIG
    assert left(tmp_path)["inference"].startswith("PLAN was cfg=3; it may be ")
    assert left(tmp_path)["inference"] in ended.stderr
    assert "| torch\n" not in ended.stderr


def test_a_rank_that_refuses_gives_the_cluster_its_exit_code_and_its_sentence(tmp_path: Path) -> None:
    """Only a rank, which has torch, sees that the checkpoint is none."""
    (tmp_path / "checkpoint").mkdir()
    given = {"MODEL_CKPT_DIR": str(tmp_path / "checkpoint"), "WANJET_REFUSALS": str(tmp_path / "refusals")}
    (tmp_path / "refusals").mkdir()
    ended = completed("-m", "inference.cluster", "2", within_s=WITHIN_S, **given)
    assert ended.returncode == EX_CONFIG
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    sentence = left(tmp_path / "refusals")["inference"]
    assert sentence.startswith("MODEL_CKPT_DIR: ")
    assert [line for line in lines if line.get("text") == sentence]
    assert all(line["service"] == "inference" and line["level"] and line["timestamp"] for line in lines)
    assert ended.stderr == "", "what torchrun and torch print is in lines of JSON too"


def test_ranks_meet_on_a_machine_whose_name_resolves_to_nothing() -> None:
    if subprocess.run([*UNKNOWN_HOST, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no name of its own can be given to a process here")
    command = [*UNKNOWN_HOST, sys.executable, "-c", RANKS_THAT_MEET, "by itself"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert ended.stdout.count("met 2") == 2, ended.stderr[-2000:]
