import pytest
import torch

from contracts.plan import Plan
from inference.ranks import out_of_memory
from tests.kit.tiny import job


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    npu = RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 60.97 GiB total capacity)")
    assert all(
        out_of_memory.is_out_of_memory(error) for error in (caught.value, MemoryError(), torch.OutOfMemoryError(), npu)
    )
    assert not any(
        out_of_memory.is_out_of_memory(error)
        for error in (RuntimeError("shape"), OSError("out of memory"), ValueError())
    )


def test_what_is_asked_for_already_is_not_advised() -> None:
    plain = Plan(cfg_size=1, ulysses_size=1)
    every = Plan(cfg_size=2, ulysses_size=2, dit_fsdp=True, t5_fsdp=True, vae_parallel=True)
    always = "a smaller image_size, fewer num_frames"
    cached = job(use_attentioncache=True)
    assert out_of_memory.advice("denoise", cached, plain, 4).endswith(
        f": no use_attentioncache, dit_fsdp, t5_fsdp, a larger ulysses_size, {always}"
    )
    assert out_of_memory.advice("encode", job(), plain, 4).endswith(f": t5_fsdp, dit_fsdp, vae_parallel, {always}")
    assert out_of_memory.advice("decode", job(), plain, 4).endswith(f": vae_parallel, dit_fsdp, t5_fsdp, {always}")
    for stage in ("encode", "denoise", "decode", "store"):
        for plan, ranks in ((plain, 1), (every, 4)):
            assert out_of_memory.advice(stage, job(), plan, ranks).endswith(f"needs less: {always}")


def test_while_the_weights_are_gathered_the_size_of_the_video_does_not_matter() -> None:
    plain = Plan(cfg_size=2, ulysses_size=4, vae_parallel=True)
    assert out_of_memory.advice(None, job(use_attentioncache=True), plain, 8) == (
        "the cluster ran out of memory while the weights are gathered; what needs less: dit_fsdp, t5_fsdp"
    )
    half = Plan(cfg_size=2, ulysses_size=4, t5_fsdp=True)
    assert out_of_memory.advice(None, job(), half, 8).endswith("what needs less: dit_fsdp")
