"""The fetcher whose libraries come after the edge is ready."""

import asyncio
import errno

import pytest

from services.edge.errors import ImageRefused
from services.edge.image import late_fetcher
from services.edge.image.late_fetcher import LateFetcher
from services.edge.resources.spool import Disk, Spool
from tests.kit.waiting import eventually

FORBIDDEN = "http://127.0.0.1/a.png"


async def refused(fetcher: LateFetcher) -> bool:
    with Spool(Disk()) as picture, pytest.raises(ImageRefused):
        await fetcher.fetch(FORBIDDEN, picture)
    return True


@pytest.mark.parametrize("after_s", [0.0, 3600.0])
async def test_a_fetch_waits_for_no_more_than_the_libraries(monkeypatch: pytest.MonkeyPatch, after_s: float) -> None:
    monkeypatch.setattr(late_fetcher, "LOAD_AFTER_S", after_s)
    async with LateFetcher() as fetcher:
        assert await asyncio.gather(refused(fetcher), refused(fetcher)) == [True, True]


@pytest.mark.slow
async def test_the_libraries_come_without_a_fetch_and_whoever_leaves_takes_nobody_along() -> None:
    async with LateFetcher() as fetcher:
        leaving, staying = asyncio.create_task(refused(fetcher)), asyncio.create_task(refused(fetcher))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying
    late_fetcher_of_nobody = LateFetcher()
    async with late_fetcher_of_nobody:
        await eventually(late_fetcher_of_nobody._opening.done)


async def test_an_edge_that_ends_before_its_first_fetch_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_fetcher, "LOAD_AFTER_S", 3600.0)
    async with asyncio.timeout(5), LateFetcher() as fetcher:
        pass
    assert fetcher._opening.cancelled()


async def test_libraries_that_cannot_be_read_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    async with LateFetcher() as fetcher:
        with monkeypatch.context() as broken, Spool(Disk()) as picture:
            broken.setattr(late_fetcher, "import_module", fails)
            for _ in range(2):
                with pytest.raises(OSError, match="too many"):
                    await fetcher.fetch(FORBIDDEN, picture)
        assert await refused(fetcher)
