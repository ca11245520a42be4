"""A start that cannot succeed ends with one sentence, an exit code of its own, and the sentence in a file."""

from pathlib import Path

from contracts.process.start import EX_CONFIG, left
from tests.kit.process import completed

SERVICE = """
from contracts.process import env, start
with start.refusing('x'):
    raise env.BadSetting('PORT was 0; é')"""


def test_a_refused_start_has_a_sentence_and_an_exit_code_of_its_own(tmp_path: Path) -> None:
    ended = completed("-c", SERVICE, within_s=20, WANJET_REFUSALS=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (EX_CONFIG, "", "PORT was 0; é\n")
    assert left(tmp_path) == {"x": "PORT was 0; é"}


def test_a_folder_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    assert completed("-c", SERVICE, within_s=20, WANJET_REFUSALS=str(tmp_path / "no")).returncode == EX_CONFIG
    assert completed("-c", SERVICE, within_s=20).returncode == EX_CONFIG
    assert left(tmp_path / "no") == {}
