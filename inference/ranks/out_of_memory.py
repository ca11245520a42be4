"""When memory runs out: how to tell it from other errors, what would help, and how to give back what was held."""

import gc

import torch

from contracts.events import Stage
from contracts.job import Job
from contracts.plan import Plan

GATHER = "gather"
"""What logs call the time before the first stage, when a job's weights are gathered."""

IN_WORDS = ("can't allocate memory", "out of memory")  # the CPU's allocator and torch_npu's raise plain RuntimeErrors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error says that the device, or the process, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in IN_WORDS)


def in_words(stage: Stage | None) -> str:
    """Name the stage in a sentence; None is what comes before the first one."""
    return "the gathering of the weights" if stage is None else f"the stage {stage}"


def advice(stage: Stage | None, job: Job, plan: Plan, ranks: int) -> str:
    """Say where memory ran out, and which changes to the job need less there, the cheapest first.

    Weights that a job wants gathered stay so through all of its stages. Before the first one, while they are gathered,
    nothing else of the job is there.
    """
    shared = ranks > 1
    vae = ("vae_parallel", shared and not plan.vae_parallel)
    weights = [("dit_fsdp", shared and not plan.dit_fsdp), ("t5_fsdp", shared and not plan.t5_fsdp)]
    by_stage: dict[Stage | None, list[tuple[str, bool]]] = {
        None: weights,
        "encode": [*reversed(weights), vae],
        "denoise": [
            ("no use_attentioncache", job.use_attentioncache),
            *weights,
            ("a larger ulysses_size", plan.cfg_size * plan.ulysses_size < ranks),
        ],
        "decode": [vae, *weights],
        "store": [],
    }
    smaller = [] if stage is None else ["a smaller image_size", "fewer num_frames"]
    changes = [*(change for change, helps in by_stage[stage] if helps), *smaller] or ["a cluster of more ranks"]
    at = "while the weights are gathered" if stage is None else f"at the stage {stage}"
    return f"the cluster ran out of memory {at}; what needs less: {', '.join(changes)}"


def release(device: torch.device) -> None:
    """Let go of what only broken-off work held, here and in the device's allocator."""
    gc.collect()
    if device.type != "cpu":
        torch.accelerator.empty_cache()
