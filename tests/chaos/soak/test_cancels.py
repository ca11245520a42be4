"""The short form of `python -m tests.chaos.soak.cancels`."""

from pathlib import Path

import pytest

from tests.chaos.soak.cancels import cancels, drill, endings_by_job

COUNT = 8


@pytest.mark.timeout(400)
async def test_a_cancel_that_was_confirmed_while_the_video_is_stored_holds_and_leaves_nothing(tmp_path: Path) -> None:
    async with drill(tmp_path) as under:
        for disturbed in (False, True):
            seen = await cancels(under, COUNT, disturbed=disturbed)
            assert (seen.lies, seen.left) == ([], [])
        assert set((await endings_by_job(under.link)).values()) == {1}
