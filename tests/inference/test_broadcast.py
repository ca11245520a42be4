import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, environment

SCRIPT = Path(__file__).parent / "votes_of_a_rank.py"
NEVER = 99


def told(tmp_path: Path, *, fail_at: int = NEVER, halt_at: int = NEVER) -> set[str]:
    """What two real ranks agreed on."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*torchrun, str(SCRIPT), str(fail_at), str(halt_at)],
        cwd=REPOSITORY,
        env=environment(OMP_NUM_THREADS="1", TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return {line for line in run.stdout.splitlines() if line.startswith("TOLD")}


@pytest.mark.parametrize(
    ("script", "agreed"),
    [
        ({}, "done"),
        ({"halt_at": 2}, "Halted:  after 2"),
        ({"fail_at": 1}, "Failed: rank 1 broke at step 1 of ü after 1"),
        ({"fail_at": 2, "halt_at": 2}, "Failed: rank 1 broke at step 2 of ü after 2"),
    ],
    ids=["all goes well", "rank 0 halts", "rank 1 fails", "both at once"],
)
def test_all_ranks_agree_and_go_on_together(tmp_path: Path, script: dict[str, int], agreed: str) -> None:
    assert told(tmp_path, **script) == {f"TOLD|{rank}|Idle|{agreed}|Stop" for rank in (0, 1)}
