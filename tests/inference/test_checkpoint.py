"""What a person is told of a folder before a cluster is started with it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.checkpoint import main
from inference.pocket import POCKET_FOLDER
from inference.wan.load import Wan, load


def told(capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[int, str, str]:
    code = main([str(folder)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_that_can_be_used_is_described(checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = told(capsys, checkpoint)
    facts = {line[:16].strip(): line[16:] for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert facts["runs"].startswith("yes: Wan2.1 image-to-video in the diffusers layout")
    assert facts["model"] == "tiny (wanjet.json)"
    assert facts["sizes"] == "64*48, 48*48"
    assert facts["default size"] == "64*48"
    assert facts["attention"] == "2 layers, 4 heads of 12"
    assert facts["4 ranks"] == "cfg=2,ulysses=2, cfg=1,ulysses=4, cfg=2,ulysses=1, cfg=1,ulysses=2, cfg=1,ulysses=1"
    assert "in bfloat16 on an accelerator or" in facts["transformer"]
    assert facts["vae"].endswith("in float32 once loaded")


def test_gigabytes_are_those_that_are_loaded(checkpoint: Path, wan: Wan, capsys: pytest.CaptureFixture[str]):
    half = load(checkpoint, torch.device("cpu"), dtype=torch.bfloat16)
    in_bf16, in_fp32 = (sum(each.nbytes for each in model.transformer.parameters()) for model in (half, wan))
    _, out, _ = told(capsys, checkpoint)
    said = f"{in_bf16 / 1e9:.3g} GB in bfloat16 on an accelerator or {in_fp32 / 1e9:.3g} GB in float32 on a CPU"
    assert said in next(line for line in out.splitlines() if line.startswith("transformer"))


def test_a_folder_that_cannot_be_used_is_one_sentence_and_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = told(capsys, tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith(f"{tmp_path}: expected model_index.json")
    assert err.count("\n") == 1


def test_a_lora_beside_is_told(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for each in checkpoint.iterdir():
        (tmp_path / each.name).symlink_to(each)
    save_file({}, tmp_path / "style_lora.safetensors")
    code, out, _ = told(capsys, tmp_path)
    assert code == 0
    assert f"{tmp_path / 'style_lora.safetensors'} is not used: no LoRA is applied" in out


def test_as_a_command_it_needs_no_broker_and_no_ranks(tmp_path: Path):
    def run(folder: Path | str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "inference.checkpoint", str(folder)], capture_output=True, text=True, check=False
        )

    address = run("https://huggingface.co/Wan-AI/Wan2.1-I2V-14B-480P")
    assert (address.returncode, address.stdout, address.stderr.count("\n")) == (1, "", 1)
    assert address.stderr.startswith("https://huggingface.co/Wan-AI/Wan2.1-I2V-14B-480P: expected a folder")
    assert "addresses are not fetched; download it first: hf download Wan-AI/Wan2.1-I2V-14B-480P" in address.stderr
    good, bad = run(POCKET_FOLDER), run("Wan-AI/Wan2.1-I2V-14B-480P")
    assert (good.returncode, bad.returncode) == (0, 1)
    assert "pocket (wanjet.json)" in good.stdout
    assert "hf download Wan-AI/Wan2.1-I2V-14B-480P --local-dir FOLDER" in bad.stderr
    assert "Traceback" not in bad.stderr
