import os
from pathlib import Path

import pytest

from services.edge.errors import Overloaded
from services.edge.resources.spool import MEMORY_BYTES_MAX, Disk, Spool
from tests.kit.waiting import eventually


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_few_bytes_stay_in_memory_and_more_go_to_a_file_that_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = open_files()
    with Spool(Disk()) as spool:
        await spool.add(b"ab")
        await spool.add(b"c")
        assert (spool.in_memory, spool.size_bytes, open_files()) == (b"abc", 3, before)
        await spool.add(bytes(MEMORY_BYTES_MAX))
        assert (spool.in_memory, spool.size_bytes) == (None, 3 + MEMORY_BYTES_MAX)
        await spool.add(b"z")
        assert os.fstat((await spool.file()).fileno()).st_nlink == 0
        assert os.listdir(tmp_path) == []  # noqa: PTH208
        with spool.mapped() as content:
            assert content[:] == b"abc" + bytes(MEMORY_BYTES_MAX) + b"z"
    await eventually(lambda: open_files() == before)


async def test_all_spools_share_what_there_is_of_the_disk_and_give_it_back() -> None:
    disk = Disk(3 * MEMORY_BYTES_MAX)
    with Spool(disk) as one, Spool(disk) as other:
        await one.add(bytes(2 * MEMORY_BYTES_MAX))
        with pytest.raises(Overloaded):
            await other.add(bytes(2 * MEMORY_BYTES_MAX))
    with Spool(disk) as third:
        await third.add(bytes(3 * MEMORY_BYTES_MAX))
        await third.file()


async def test_what_another_process_wrote_counts_too() -> None:
    disk = Disk(100)
    with Spool(disk) as spool:
        os.write((await spool.file()).fileno(), bytes(60))
        spool.count_written()
        assert spool.size_bytes == 60
        with Spool(disk) as other:
            await other.add(bytes(50))
            with pytest.raises(Overloaded):
                await other.file()


async def test_a_disk_without_room_is_a_load_and_no_fault_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc")  # where nothing can be made
    with Spool(Disk()) as spool, pytest.raises(Overloaded):
        await spool.add(bytes(MEMORY_BYTES_MAX + 1))
