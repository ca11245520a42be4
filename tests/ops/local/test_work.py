import os
import subprocess
import sys

from ops.local.work import work
from tests.kit.waiting import eventually
from tests.ops.local.pids import BUSY


async def test_the_work_of_a_process_is_that_of_all_below_it() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) as parent:  # noqa: ASYNC220
        try:
            await eventually(lambda: work(parent.pid) > 0.5, within_s=60)
        finally:
            os.killpg(parent.pid, 9)


def test_a_process_that_is_gone_does_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert work(gone.pid) == 0
