import subprocess
import sys

import pytest

from tests.kit.machine import REPOSITORY
from tests.kit.process import environment

END_S = 20

CHILD = f"""
import signal
from contracts.process.die_with_parent import die_with_parent
die_with_parent()
signal.alarm(3 * {END_S})
print("ready", flush=True)
signal.pause()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=False)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
def test_a_process_dies_with_its_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        # The child holds the other end of this pipe for as long as it lives.
        rest, _ = parent.communicate(timeout=END_S)
        assert rest == ""
