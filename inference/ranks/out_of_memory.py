"""Recognise that memory ran out, advise what would need less, and release what a failed job held.

`worker` calls it on every rank, and the leader for the stage `store`.
"""

import gc

import torch

from contracts.job import Job
from contracts.plan import Plan
from contracts.stage_times import Stage

GATHER = "gather"
"""The name in logs of the time before the first stage, when a job's weights are gathered."""

IN_WORDS = ("can't allocate memory", "out of memory")  # the CPU's allocator and torch_npu's raise plain RuntimeErrors


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error, by its type or its text, says that the device or the process has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in IN_WORDS)


def in_words(stage: Stage | None) -> str:
    """Return the stage's name for a sentence; None is the gathering of the weights, before the first stage."""
    return "the gathering of the weights" if stage is None else f"the stage {stage}"


def advice(stage: Stage | None, job: Job, plan: Plan, ranks: int) -> str:
    """Return a sentence that says where memory ran out, and which changes to the job need less there, cheapest first.

    It is safe to show. Weights that a job wants gathered stay gathered through all of its stages. While they are
    gathered (`stage` None), memory holds nothing else of the job. `ranks` is the number of ranks.
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


def free_unused_memory(device: torch.device) -> None:
    """Free what a failed job leaves unused: Python's cycles, and the memory that the device's allocator caches."""
    gc.collect()
    if device.type != "cpu":
        torch.accelerator.empty_cache()
