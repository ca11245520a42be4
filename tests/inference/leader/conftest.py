from pathlib import Path

import pytest

from contracts.broker import Bus
from tests.inference.leader.scripted import LIMITS, RankZero


@pytest.fixture
async def rank_zero(link: Bus, tmp_path: Path) -> RankZero:
    """Rank 0's half over a real broker, with one job in its queue."""
    rank_zero = RankZero(link, tmp_path, LIMITS)
    await rank_zero.queue_job()
    return rank_zero
