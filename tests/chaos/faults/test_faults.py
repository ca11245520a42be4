"""A few minutes of `just faults`: a fault at a phase of a job's life, and everything goes on by itself."""

from pathlib import Path

import pytest

from tests.chaos.faults.run import run
from tests.chaos.faults.service import running
from tests.chaos.faults.trials.catalogue import few_trials


@pytest.mark.timeout(900)
async def test_no_job_is_lost_doubled_or_stuck_whatever_happens_to_a_process(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        assert await run(list(few_trials()), service) == []
