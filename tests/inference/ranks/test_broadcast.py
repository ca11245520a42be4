from pathlib import Path

import pytest

from tests.inference.ranks.votes_of_a_rank import SCRIPTS
from tests.kit.process import output_of

SCRIPT = Path(__file__).parent / "votes_of_a_rank.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What two real ranks agreed on, in every script."""
    output = output_of(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(SCRIPT),
        within_s=60,
        OMP_NUM_THREADS="1",
        TMPDIR=str(tmp_path_factory.mktemp("votes")),
    )
    lines = {line for line in output.splitlines() if line.startswith("TOLD")}
    assert len(lines) == 2 * len(SCRIPTS)
    return lines


@pytest.mark.parametrize(
    ("name", "agreed"),
    [
        ("all goes well", "done"),
        ("rank 0 leaves", "LeaveAgreed:  after 2"),
        ("rank 1 fails", "FailureAgreed: rank 1 broke at step 1 of ü after 1"),
        ("both at once", "FailureAgreed: rank 1 broke at step 2 of ü after 2"),
    ],
)
def test_all_ranks_agree_and_go_on_together(told: set[str], name: str, agreed: str) -> None:
    assert {f"TOLD|{name}|{rank}|Idle|{agreed}|Stop" for rank in (0, 1)} <= told
