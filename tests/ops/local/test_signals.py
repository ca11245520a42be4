"""A signal ends a command once, and in order."""

import subprocess
import sys

from tests.kit.machine import REPOSITORY


def test_a_second_ctrl_c_does_not_cut_the_end_short() -> None:
    told = (
        "from ops.local.signals import exit_on_signals\nimport os, signal\nexit_on_signals()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "finally: os.kill(os.getpid(), signal.SIGINT); print('in order')"
    )
    answer = subprocess.run([sys.executable, "-c", told], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "in order\n", "")
