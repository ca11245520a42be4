"""Which kernels are chosen, and what the settings for them change. What only accelerators have does not run here."""

from collections.abc import Generator
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from inference.wan import fp8, kernels
from inference.wan.fp8 import Fp8Linear
from inference.wan.load import Wan, load
from tests.kit.tiny import image, job, latents

CPU = torch.device("cpu")


@pytest.fixture
def fresh(checkpoint) -> Wan:
    """A model of this test's own: what is done to it stays with it."""
    return load(checkpoint, CPU)


@pytest.fixture
def pretend_it_runs(monkeypatch: pytest.MonkeyPatch):
    def pretend(*names: str) -> None:
        monkeypatch.setattr(kernels, "backend_works", lambda name, _device, _head_dim: name in names)

    return pretend


@pytest.mark.parametrize(
    ("device", "installed", "chosen"),
    [
        ("cuda", ("_native_cudnn", "flash", "native"), "_native_cudnn"),
        ("cuda", ("flash", "native"), "flash"),
        ("cuda", ("native",), "native"),
        ("privateuseone", ("native",), "native"),
        ("xpu", ("native",), "native"),
        ("cpu", ("_native_flash", "native"), "native"),
    ],
)
def test_the_best_attention_that_the_device_runs_is_chosen(pretend_it_runs, device, installed, chosen):
    pretend_it_runs(*installed)
    transformer = Mock(config={"attention_head_dim": 128})
    assert kernels.set_attention_backend(Mock(transformer=transformer, device=torch.device(device)), None) == chosen
    told = [call.args for call in transformer.set_attention_backend.call_args_list]
    assert told == ([] if chosen == "native" else [(chosen,)])


def test_an_npu_attends_with_its_own():
    assert kernels.BEST_FIRST["npu"] == ("_native_npu", "native")


def test_what_was_asked_for_is_taken_or_refused_by_name(fresh: Wan):
    assert kernels.set_attention_backend(fresh, None) == "native"
    for unusable in ("_native_npu", "sage", "no_such_thing"):
        with pytest.raises(kernels.KernelError, match=f"ATTENTION_BACKEND: cpu was expected to run '{unusable}'"):
            kernels.set_attention_backend(fresh, unusable)
    before = latents(fresh, job(), image())
    assert kernels.set_attention_backend(fresh, "_native_math") == "_native_math"
    torch.testing.assert_close(latents(fresh, job(), image()), before, atol=1e-4, rtol=1e-4)
    fresh.transformer.set_attention_backend("native")  # diffusers' choice is one for the process


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None):
    by_head = (each.transpose(1, 2) for each in (query, key, value))
    return nn.functional.scaled_dot_product_attention(*by_head, attn_mask=mask).transpose(1, 2)


def banded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend within a band of 65,536 tokens, as a faulty kernel might: for a short video the band is the whole."""
    rows, columns = torch.arange(query.shape[1])[:, None], torch.arange(key.shape[1])[None]
    return attention(query, key, value, (columns - rows).abs() <= 65536)


@pytest.mark.parametrize(
    ("compute", "right"),
    [
        (attention, True),
        (lambda *qkv: attention(*qkv).bfloat16(), True),
        (lambda *qkv: attention(*qkv) * float("nan"), False),
        (lambda *qkv: torch.zeros_like(qkv[0]), False),
        (lambda query, key, value: attention(query * 1.5, key, value), False),
        (banded, False),
    ],
    ids=["torch's", "in bf16", "NaN", "zeros", "another scale", "a band"],
)
def test_a_kernel_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, compute, right: bool):
    def dispatch(*qkv: torch.Tensor, backend: object) -> torch.Tensor:
        return compute(*qkv)

    monkeypatch.setattr(kernels, "dispatch_attention_fn", dispatch)
    assert kernels.backend_works("native", CPU, 32) is right


def test_a_device_that_cannot_compile_is_one_sentence_that_names_the_setting():
    def no_compiler(*_: object) -> None:
        raise RuntimeError("no such backend")

    kernels.check_compile(CPU, backend="eager")
    for backend in (no_compiler, "no_such_backend"):
        with pytest.raises(kernels.KernelError, match=r"^COMPILE_BLOCKS: cpu was expected to run compiled code, but"):
            kernels.check_compile(CPU, backend=backend)
    torch.compiler.reset()


@pytest.fixture
def nothing_compiled() -> Generator[None, None, None]:
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("nothing_compiled")
def test_compiled_blocks_are_warm_for_every_size_and_compute_the_same(fresh: Wan, monkeypatch: pytest.MonkeyPatch):
    before = latents(fresh, job(), image())
    shapes: list[int] = []
    fresh.transformer.register_forward_hook(lambda _module, _args, out: shapes.append(out[0].shape[-1]))
    monkeypatch.setattr(kernels, "WARM_UP_FRAMES", 9)
    kernels.compile_blocks(fresh.transformer, backend="eager")  # what is traced, and not what a compiler makes of it
    kernels.warm_up(fresh)
    assert shapes == [8, 6]
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled > 0
    assert torch.equal(latents(fresh, job(), image()), before)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


@pytest.mark.usefixtures("nothing_compiled")
def test_a_step_that_reuses_attention_is_compiled_once_for_all_blocks(fresh: Wan):
    asked = job(use_attentioncache=True, infer_steps=7, start_step=1, attentioncache_interval=3, end_step=5)
    before = latents(fresh, asked, image())
    kernels.compile_blocks(fresh.transformer, backend="eager")
    torch._dynamo.utils.counters.clear()
    assert torch.equal(latents(fresh, asked, image()), before)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3  # computed; computed and kept; reused


def test_a_row_of_8_bit_floats_is_right_to_its_last_bit():
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1, 10, 1e4, 0])[:, None]
    rounded, scale = fp8.quantise(rows)
    restored = rounded.view(fp8.FLOAT8).float() * scale
    assert (restored - rows).abs().max(dim=1).values.le(rows.abs().max(dim=1).values / 16).all()
    assert restored[4].eq(0).all()


def test_8_bit_layers_stand_for_the_blocks_linear_ones_and_come_near_them(checkpoint, fresh: Wan):
    rounded = load(checkpoint, CPU, fp8_linear=True)
    layers = [module for module in rounded.transformer.modules() if isinstance(module, Fp8Linear)]
    linears = [module for module in fresh.transformer.blocks.modules() if isinstance(module, nn.Linear)]
    assert len(layers) == len(linears) > 0
    assert not any(isinstance(module, Fp8Linear) for module in rounded.transformer.condition_embedder.modules())
    inputs = torch.randn(7, 48, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = linears[0](inputs.float())
    assert (layers[0](inputs).float() - exact).norm() / exact.norm() < 0.05
    one, other = latents(fresh, job(), image()), latents(rounded, job(), image())
    assert not torch.equal(one, other)
    assert (one - other).norm() / one.norm() < 0.2


def test_the_cpu_multiplies_8_bit_floats_too():
    kernels.check_fp8(CPU)


@pytest.mark.parametrize(
    ("attention", "fp8_linear", "marks"),
    [
        ("native", False, []),
        ("_native_cudnn", False, []),
        ("native", True, ["fp8_linear"]),
        ("_sage_qk_int8_pv_fp16_cuda", False, ["_sage_qk_int8_pv_fp16_cuda"]),
        ("sage", True, ["fp8_linear", "sage"]),
    ],
)
def test_arithmetic_that_changes_pixels_beyond_rounding_is_named(attention, fp8_linear, marks):
    assert kernels.approximations(attention, fp8_linear=fp8_linear) == marks
