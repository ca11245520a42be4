"""Checkpoints in a folder: the newest counts, and what cannot be used is reported and counts as none."""

from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from contracts.job import CHECKPOINTS
from contracts.stores import Folder
from inference.leader.job_checkpoints import JobCheckpoints
from inference.wan.guidance import Conditions
from inference.wan.snapshot import DenoisingSnapshot, decode_snapshot
from inference.wan.solvers import Memory
from tests.kit.builders import ID

FINGERPRINT, WEIGHTS = "a fingerprint", "3f1c"


def snapshot(step: int) -> DenoisingSnapshot:
    given = Conditions(torch.ones(1, 4, 8, dtype=torch.bfloat16), None, torch.ones(1, 2, 8), torch.ones(1, 20, 3, 6, 8))
    latents = torch.full((1, 16, 3, 6, 8), float(step))
    return DenoisingSnapshot(
        step, latents, Memory((None, latents), latents, {"lower_order_nums": 1, "this_order": 1}), given
    )


@pytest.fixture
def checkpoints(tmp_path: Path) -> JobCheckpoints:
    return JobCheckpoints(Folder(tmp_path), WEIGHTS)


def kept(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / CHECKPOINTS).iterdir())


async def test_the_newest_is_what_a_job_goes_on_from_and_the_only_one_kept(
    checkpoints: JobCheckpoints, tmp_path: Path
) -> None:
    assert await checkpoints.latest(ID, FINGERPRINT) is None
    for step in (3, 9, 10):
        await checkpoints.write(ID, 1, FINGERPRINT, snapshot(step))
    found = await checkpoints.latest(ID, FINGERPRINT)
    assert found is not None
    assert found.step == 10
    assert torch.equal(decode_snapshot(found.conditions, found.state).latents_BCTHW, snapshot(10).latents_BCTHW)
    assert len(kept(tmp_path)) == 2
    await checkpoints.remove(ID)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("part", ["conditions", "1-5"])
async def test_a_flipped_byte_anywhere_is_found_and_reported(
    checkpoints: JobCheckpoints, tmp_path: Path, part: str
) -> None:
    await checkpoints.write(ID, 1, FINGERPRINT, snapshot(5))
    file = next(file for file in (tmp_path / CHECKPOINTS).iterdir() if part in file.name)
    whole = bytearray(file.read_bytes())
    for at in range(0, len(whole), len(whole) // 20):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        file.write_bytes(flipped)
        with capture_logs() as told:
            assert await checkpoints.latest(ID, FINGERPRINT) is None
        assert [line["event"] for line in told] == ["checkpoint_unusable"]
    file.unlink()
    assert await checkpoints.latest(ID, FINGERPRINT) is None


async def test_another_jobs_checkpoint_or_one_of_other_weights_is_not_used(
    checkpoints: JobCheckpoints, tmp_path: Path
) -> None:
    await checkpoints.write(ID, 1, FINGERPRINT, snapshot(5))
    assert await checkpoints.latest(ID, "another fingerprint") is None
    assert await JobCheckpoints(Folder(tmp_path), "other weights").latest(ID, FINGERPRINT) is None
    assert await checkpoints.latest(ID.replace("0", "f"), FINGERPRINT) is None


async def test_what_no_step_changes_is_written_once_an_attempt(checkpoints: JobCheckpoints, tmp_path: Path) -> None:
    await checkpoints.write(ID, 1, FINGERPRINT, snapshot(5))
    conditions = tmp_path / CHECKPOINTS / f"{ID}-1-conditions.safetensors"
    before = conditions.stat()
    await checkpoints.write(ID, 1, FINGERPRINT, snapshot(6))
    assert conditions.stat() == before
    await checkpoints.write(ID, 2, FINGERPRINT, snapshot(7))
    assert [name.split("-")[1] for name in kept(tmp_path)] == ["2", "2"]


async def test_an_attempt_that_slept_takes_nothing_from_the_one_after_it(
    checkpoints: JobCheckpoints, tmp_path: Path
) -> None:
    await checkpoints.write(ID, 2, FINGERPRINT, snapshot(12))
    await JobCheckpoints(Folder(tmp_path), WEIGHTS).write(ID, 1, FINGERPRINT, snapshot(5))
    found = await checkpoints.latest(ID, FINGERPRINT)
    assert found is not None
    assert found.step == 12


async def test_what_an_attempt_of_the_same_number_has_left_makes_way(
    checkpoints: JobCheckpoints, tmp_path: Path
) -> None:
    """A broker that lost the start of the first attempt counts the second one as the first."""
    await checkpoints.write(ID, 1, FINGERPRINT, snapshot(5))
    (tmp_path / CHECKPOINTS / f"{ID}-1-conditions.safetensors").write_bytes(b"of other tokens")
    again = JobCheckpoints(Folder(tmp_path), WEIGHTS)
    await again.write(ID, 1, FINGERPRINT, snapshot(7))
    found = await again.latest(ID, FINGERPRINT)
    assert found is not None
    assert found.step == 7
