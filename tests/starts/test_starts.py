"""A few of the starts that cannot succeed; `python -m tests.starts.run` tries them all."""

import pytest

from tests.starts.run import main


@pytest.mark.parametrize("name", ["taken port", "wrong broker address", "no rights", "too old", "read-only"])
def test_a_start_that_cannot_succeed_ends_with_its_sentence(name: str) -> None:
    told: list[str] = []
    assert main([name], told.append) == 0, told
