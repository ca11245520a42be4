import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, environment
from tests.inference.votes_of_a_rank import SCRIPTS

SCRIPT = Path(__file__).parent / "votes_of_a_rank.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What two real ranks agreed on, in every script."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*torchrun, str(SCRIPT)],
        cwd=REPOSITORY,
        env=environment(OMP_NUM_THREADS="1", TMPDIR=str(tmp_path_factory.mktemp("votes"))),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    lines = {line for line in run.stdout.splitlines() if line.startswith("TOLD")}
    assert len(lines) == 2 * len(SCRIPTS)
    return lines


@pytest.mark.parametrize(
    ("name", "agreed"),
    [
        ("all goes well", "done"),
        ("rank 0 halts", "Halted:  after 2"),
        ("rank 1 fails", "Failed: rank 1 broke at step 1 of ü after 1"),
        ("both at once", "Failed: rank 1 broke at step 2 of ü after 2"),
    ],
)
def test_all_ranks_agree_and_go_on_together(told: set[str], name: str, agreed: str) -> None:
    assert {f"TOLD|{name}|{rank}|Idle|{agreed}|Stop" for rank in (0, 1)} <= told
