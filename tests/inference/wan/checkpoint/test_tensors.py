"""Tensors of files, read by rows: what comes out is what the libraries read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.wan.checkpoint.tensors import CheckpointError, Stored, read_pickle, read_safetensors

TENSORS = {
    "first": torch.arange(12, dtype=torch.float32).view(4, 3),
    "half": torch.arange(10).bfloat16().view(5, 2, 1),
    "one": torch.tensor([7.0]),
}


@pytest.fixture(params=["safetensors", "pth"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Stored]:
    file = tmp_path / f"weights.{request.param}"
    if request.param == "pth":
        torch.save(TENSORS, file)
        return read_pickle(file)
    save_file(TENSORS, file, metadata={"format": "pt"})
    return read_safetensors([file])


def test_any_rows_are_read(stored: dict[str, Stored]):
    assert set(stored) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert (stored[name].shape, stored[name].dtype) == (tuple(tensor.shape), tensor.dtype)
        assert stored[name].nbytes == tensor.nbytes
        for first in range(len(tensor)):
            for last in range(first, len(tensor) + 1):
                assert torch.equal(stored[name].read(first, last), tensor[first:last])


def test_what_was_read_may_be_written_to(stored: dict[str, Stored]):
    stored["first"].read(0, 2).fill_(5)
    assert torch.equal(stored["first"].read(0, 4), TENSORS["first"])


def test_a_part_is_a_tensor_of_its_own(stored: dict[str, Stored]):
    part = stored["first"].rows(1, 3)
    assert part.shape == (2, 3)
    assert torch.equal(part.read(0, 2), TENSORS["first"][1:3])
    assert torch.equal(part.read(1, 2), TENSORS["first"][2:3])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "expected this file with weights, found an empty file"),
        (b"\xff" * 20, "expected a safetensors file, found something else or its beginning"),
        (b"\x05" + b"\0" * 7 + b"hello", "expected the header of a safetensors file, found that it is not JSON"),
        (b"\x02" + b"\0" * 7 + b"[]", r"expected the header of a safetensors file, found that it was \[\]; it may"),
        (b"\x0f" + b"\0" * 7 + b'{"a":{"dtype":7}', "found that it is not JSON: it ends before the object does"),
        (b"\x11" + b"\0" * 7 + b'{"a":{"dtype":7}}', r"found that a\.dtype was 7; it may be text; a\.shape is missing"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, sentence: str):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        read_safetensors([tmp_path / "weights.safetensors"])
