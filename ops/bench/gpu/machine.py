"""Says what the accelerator of this machine is, and with which libraries: `python -m ops.bench.gpu.machine`."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from inference.ranks import device
from ops.bench.gpu.finding import Fact, write

PART = "machine"
DEVICE, CARD = "device", "card"
"""The facts that `__main__` asks for: the type of the device, and the name of a card."""
LIBRARIES = ("diffusers", "transformers", "triton", "nvidia-cudnn-cu13", "nvidia-nccl-cu13", "nvidia-nccl-cu12")


def main() -> None:
    """Write the facts of the device, and the versions of what it is driven by."""
    here = device.choose(0)
    facts = {DEVICE: here.type, "processor": f"{platform.machine()}, Python {platform.python_version()}"}
    facts["torch"] = f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    if here.type == "cuda":
        driver: Any = torch.cuda
        facts[CARD] = driver.get_device_name(here)
        free, total = driver.mem_get_info(here)
        facts["memory"] = f"{total / 1e9:.1f} GB, of which {free / 1e9:.1f} free"
        facts["nccl"] = ".".join(map(str, driver.nccl.version()))
    for name, found in (*facts.items(), *((name, _version(name)) for name in LIBRARIES)):
        if found:
            write(Fact(part=PART, what=name, found=found))


def _version(package: str) -> str:
    """Return the version of an installed package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
