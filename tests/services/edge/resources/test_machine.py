from pathlib import Path

import pytest

from services.edge.image.normalise import DECODER_BYTES, DECODERS_LIMIT, DECODERS_MIN, MEMORY_SHARE, decoders_for
from services.edge.resources import machine

PLENTY = 2**50


@pytest.mark.parametrize("text", ["max\n", "", None])
def test_without_a_limit_the_memory_is_that_of_the_machine(tmp_path: Path, text: str | None) -> None:
    limit = tmp_path / "memory.max"
    if text is not None:
        limit.write_text(text)
    assert machine.memory_bytes(limit) > 0


def test_a_container_has_the_memory_that_its_limit_says(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    assert machine.memory_bytes(limit) == 1048576


def test_there_is_a_decoder_for_each_core_if_there_is_memory_for_it_and_there_are_two_at_least() -> None:
    assert decoders_for(8, PLENTY) == 8
    assert decoders_for(1, PLENTY) == DECODERS_MIN
    assert decoders_for(256, PLENTY) == DECODERS_LIMIT
    assert decoders_for(8, 5 * DECODER_BYTES * MEMORY_SHARE) == 5
    assert decoders_for(8, 0) == DECODERS_MIN
