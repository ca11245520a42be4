"""The ties of a rank to its device and to its parent."""

import subprocess
import sys

import pytest
import torch

from inference import device
from tests.conftest import REPOSITORY, environment

END_S = 20

CHILD = f"""
import signal
from inference.device import die_with_parent
die_with_parent()
signal.alarm(3 * {END_S})
print("ready", flush=True)
signal.pause()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=False)"


def test_control_travels_on_the_cpu_whatever_the_device():
    assert device.backend(torch.device("cpu")) == "cpu:gloo"
    assert device.backend(torch.device("cuda", 1)) == "cpu:gloo,cuda:nccl"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")
def test_the_cpu_is_taken_where_there_is_nothing_else():
    assert device.choose(local_rank=1) == torch.device("cpu")
    device.make_current(torch.device("cpu"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
def test_a_rank_dies_with_its_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        cwd=REPOSITORY,
        env=environment(OMP_NUM_THREADS="1"),
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
