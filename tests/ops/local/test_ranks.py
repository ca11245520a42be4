"""The ranks of one machine, by torchrun: what becomes of a wrong setting, and of a name that resolves to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.process.start import EX_CONFIG, left
from tests.kit.machine import REPOSITORY, UNKNOWN_HOST
from tests.kit.process import completed, environment


def test_a_rank_that_refuses_gives_the_cluster_its_exit_code_and_its_sentence(tmp_path: Path) -> None:
    ended = completed("-m", "ops.local.ranks", "2", within_s=100, PLAN="cfg=3", WANJET_REFUSALS=str(tmp_path))
    assert ended.returncode == EX_CONFIG
    assert ended.stdout.splitlines()[-1].startswith("PLAN was cfg=3; it may be ")
    assert left(tmp_path) == {"inference": ended.stdout.splitlines()[-1]}


def test_ranks_meet_on_a_machine_whose_name_resolves_to_nothing(tmp_path: Path) -> None:
    """Seen from what comes after they have met: a broker's wrong answer to rank 0 would wait for ever."""
    if subprocess.run([*UNKNOWN_HOST, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no name of its own can be given to a process here")
    (tmp_path / "meet.py").write_text(
        "import os\nimport torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "dist.barrier()\nos.write(1, b'met %d\\n' % dist.get_world_size())\n"  # at once: both ranks write there
    )
    told = "from ops.local import ranks; ranks.SERVICE = 'meet'; raise SystemExit(ranks.main('2'))"
    ended = subprocess.run(
        [*UNKNOWN_HOST, sys.executable, "-c", told],
        cwd=REPOSITORY,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.stdout.count("met 2") == 2, ended.stderr[-2000:]
