from pathlib import Path

import pytest
from diffusers.models.attention_dispatch import AttentionBackendName

from contracts.process import env
from contracts.process.env import BadSetting
from inference.early import ATTENTION_BACKENDS, check
from inference.settings import Settings


def refusal(**variables: str) -> str:
    with pytest.raises(BadSetting) as refused:
        check(env.read(Settings, variables))
    return str(refused.value)


def test_a_kernel_of_no_such_name_is_refused_with_the_names_there_are() -> None:
    assert set(ATTENTION_BACKENDS) == {backend.value for backend in AttentionBackendName}
    assert refusal(ATTENTION_BACKEND="flashy").startswith("ATTENTION_BACKEND was flashy; it may be one of ")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(MODEL_CKPT_DIR=f"{tmp_path}/no").startswith(f"MODEL_CKPT_DIR: {tmp_path}/no: expected a folder")


@pytest.mark.parametrize("url", ["https://huggingface.co/Wan-AI/Wan2.1-I2V-14B-720P", "s3://models/wan", "hf://a/b"])
def test_an_address_is_refused_before_the_libraries_are_loaded(url: str) -> None:
    said = refusal(MODEL_CKPT_DIR=url)
    assert said.startswith(f"MODEL_CKPT_DIR: {url}: expected a folder")
    assert "addresses are not fetched; download it first" in said


@pytest.mark.parametrize("place", ["transformer/config.json", "config.json"])
def test_a_plan_that_the_heads_do_not_allow_is_refused_in_either_layout(place: str, tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / place).write_text('{"num_attention_heads": 40, "num_heads": 40}')
    said = refusal(MODEL_CKPT_DIR=str(tmp_path), PLAN="ulysses=3", WORLD_SIZE="6")
    assert said.startswith("PLAN: with 6 ranks and 40 attention heads ") and said.endswith("was ulysses=3")


@pytest.mark.parametrize("config", ["", "[]", '{"num_heads": "40"}', '{"num_heads": 0}', "{}", "[" * 100_000])
def test_a_checkpoint_that_does_not_say_its_heads_is_left_to_who_opens_it(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    check(env.read(Settings, {"MODEL_CKPT_DIR": str(tmp_path), "PLAN": "ulysses=3"}))
