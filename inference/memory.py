"""When memory runs out: how to tell it from other errors, what would help, and how to give back what was held."""

import gc

import torch

from contracts.events import Stage
from contracts.job import Job
from contracts.plan import Plan

IN_WORDS = ("can't allocate memory", "out of memory")  # the CPU's allocator and torch_npu's raise plain RuntimeErrors


def ran_out(error: BaseException) -> bool:
    """Whether this error says that the device, or the process, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in IN_WORDS)


def reason(stage: Stage, job: Job, plan: Plan, ranks: int) -> str:
    """What a person may know, with the changes to the job that make the stage need less, the cheapest first."""
    shared = ranks > 1
    by_stage: dict[Stage, list[tuple[str, bool]]] = {
        "encode": [("t5_fsdp", shared and not plan.t5_fsdp), ("vae_parallel", shared and not plan.vae_parallel)],
        "denoise": [
            ("no use_attentioncache", job.use_attentioncache),
            ("dit_fsdp", shared and not plan.dit_fsdp),
            ("a larger ulysses_size", plan.cfg_size * plan.ulysses_size < ranks),
        ],
        "decode": [("vae_parallel", shared and not plan.vae_parallel)],
        "store": [],
    }
    changes = [*(change for change, helps in by_stage[stage] if helps), "a smaller image_size", "fewer num_frames"]
    return f"the cluster ran out of memory at the stage {stage}; what needs less: {', '.join(changes)}"


def give_back(device: torch.device) -> None:
    """Let go of what only broken-off work held, here and in the device's allocator."""
    gc.collect()
    if device.type != "cpu":
        torch.accelerator.empty_cache()
