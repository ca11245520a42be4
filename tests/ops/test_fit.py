"""`just fit`: its table, its sentences, and the page that is written by it."""

from pathlib import Path

import pytest

from ops import fit, memory_page
from ops.memory_page import PAGE, card_bytes
from tests.kit.machine import REPOSITORY


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert fit.main(list(arguments)) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == memory_page.page(), "write it by `just fit --page`"


@pytest.mark.parametrize(
    ("card", "plan"),
    [
        ("24", "cfg=2,ulysses=4,dit_fsdp,t5_fsdp,vae_parallel"),
        ("32", "cfg=2,ulysses=4,dit_fsdp,t5_fsdp,vae_parallel"),
        ("64", "cfg=2,ulysses=4,vae_parallel"),
        ("80", "cfg=2,ulysses=4,vae_parallel"),
    ],
)
def test_eight_cards_run_a_14b_by_the_fastest_plan_that_fits(
    capsys: pytest.CaptureFixture[str], card: str, plan: str
) -> None:
    assert f"{card} GB: runs by {plan}, the fastest that fits." in said(capsys, "--card", card)


def test_what_fits_by_no_plan_says_how_much_is_missing_and_what_helps(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--ranks", "2", "--card", "24", "--cached")
    assert "24 GB: fits by no plan; the least is" in text
    assert "What needs less: no attention cache, fewer frames, a smaller size, more ranks." in text


def test_settings_that_free_memory_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    one_card = ("--ranks", "1", "--card", "64")
    assert "64 GB: fits by no plan" in said(capsys, *one_card)
    for settings in (["--offload-text-encoder"], ["--offload-picture-models", "--fp8-linear"]):
        assert "64 GB: runs by cfg=1,ulysses=1" in said(capsys, *one_card, *settings)


def test_a_model_is_read_from_its_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--model", str(REPOSITORY / "inference/pocket/trained"), "--ranks", "2", "--size", "256*144")
    assert "cfg=2,ulysses=1,vae_parallel" in text
    assert text.count("the fastest that fits") == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ranks", "0"], "--ranks was 0; it may be a whole number from 1 to 1024"),
        (["--ranks", "9" * 5000], "it may be a whole number from 1 to 1024"),
        (["--card", "eighty"], "--card was eighty; it may be a whole number from 1 to 1024"),
        (["--frames", "-1"], "--frames was -1; it may be a whole number from 1 to 121"),
        (["--size", "large"], "--size was large; it may be W*H in pixels, such as 1280*720"),
        (["--model", "/nowhere"], "--model was /nowhere; it may be 14b, or a checkpoint folder"),
    ],
)
def test_a_bad_argument_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    text = said(capsys, *arguments, code=1)
    assert sentence in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"num_layers": "many"}'])
def test_a_folder_that_is_no_model_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    for name in fit.COMPONENTS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    assert said(capsys, "--model", str(tmp_path), code=1).count("\n") == 1


def test_a_card_has_less_for_programs_than_its_name_says() -> None:
    assert 80e9 < card_bytes(80) < 80 * 2**30
