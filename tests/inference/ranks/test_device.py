"""The device of a rank, and its group."""

from pathlib import Path

import pytest
import torch

from inference.ranks import device
from tests.kit.process import output_of

TORCHRUN_S = 100
NPU_RANK = Path(__file__).parent / "npu_rank.py"


def test_control_travels_on_the_cpu_whatever_the_device():
    assert device.backend(torch.device("cpu")) == "cpu:gloo"
    assert device.backend(torch.device("cuda", 1)) == "cpu:gloo,cuda:nccl"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")
def test_the_cpu_is_taken_where_there_is_nothing_else():
    assert device.choose(local_rank=1) == torch.device("cpu")
    device.make_current(torch.device("cpu"))


def test_an_npu_is_found_joined_and_meshed_where_torch_knows_one(tmp_path: Path):
    """On a stand-in, since there is none here: registered as torch_npu registers its own, it computes nothing."""
    output = output_of(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(NPU_RANK),
        within_s=TORCHRUN_S,
        OMP_NUM_THREADS="1",
        TMPDIR=str(tmp_path),
    )
    told = {line for line in output.splitlines() if line.startswith("TOLD")}
    assert told == {f"TOLD|npu:{rank}|cpu:gloo,npu:hccl|[2, 1]|npu|2|{rank}|gloo" for rank in (0, 1)}
