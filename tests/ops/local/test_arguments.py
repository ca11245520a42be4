from pathlib import Path

import pytest

from ops.local.arguments import DRAWN, USAGE, WRONG_USAGE_EXIT, Arguments, parse_arguments
from ops.local.sample_image import PROMPT, sample
from tests.kit.process import completed


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "my photo.jpg"
    file.write_bytes(b"a picture")
    return file


@pytest.mark.parametrize("arguments", [[], [""], ["", ""]])
def test_without_arguments_it_is_the_drawn_picture_and_its_prompt(arguments: list[str]) -> None:
    assert parse_arguments(arguments) == Arguments(sample(), DRAWN, PROMPT)


def test_a_picture_alone_has_the_prompt_of_the_drawn_one(photo: Path) -> None:
    assert (
        parse_arguments([str(photo)])
        == parse_arguments([str(photo), ""])
        == Arguments(b"a picture", photo.name, PROMPT)
    )


def test_picture_and_prompt_are_taken_in_either_order(photo: Path) -> None:
    assert (
        parse_arguments([str(photo), "zoom in"])
        == parse_arguments(["zoom in", str(photo)])
        == Arguments(b"a picture", photo.name, "zoom in")
    )


@pytest.mark.parametrize(
    "words",
    [
        "the camera pans slowly to the left",
        "zoom",
        "镜头向左移动",
        "Steam rises.",
        "zoom in/out",
        "boat " * 200,
        "-10 degrees: snow falls",
    ],
)
def test_words_alone_are_the_prompt_of_the_drawn_picture(words: str) -> None:
    assert parse_arguments([words]) == parse_arguments(["", words]) == Arguments(sample(), DRAWN, words)


def test_a_file_that_is_named_like_words_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zoom in").write_bytes(b"a picture")
    assert parse_arguments(["zoom in"]) == Arguments(b"a picture", "zoom in", PROMPT)
    Path("-x.png").write_bytes(b"a picture")
    assert parse_arguments(["-x.png"]) == Arguments(b"a picture", "-x.png", PROMPT)


@pytest.mark.parametrize(
    "path", ["none.png", "my holiday photo.jpeg", "/nowhere/my boat", "./a boat", "boat", "船.png"]
)
def test_a_path_without_a_file_is_no_prompt(path: str) -> None:
    with pytest.raises(SystemExit, match=r"no picture can be read at .* \(No such file or directory\)"):
        parse_arguments([path])


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Is a directory"):
        parse_arguments([str(tmp_path)])


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["photo.jpg", "--help"]])
def test_help_prints_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments(arguments)
    assert end.value.code == 0
    assert capsys.readouterr().out == USAGE + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zoom", "in"], 'a prompt stands in quotes: just demo "zoom in"'),
        (["the", "camera", "pans"], 'a prompt stands in quotes: just demo "the camera pans"'),
        (["boat.jpg", "the", "camera"], 'a prompt stands in quotes: just demo boat.jpg "the camera"'),
        (["--steps", "30"], "--steps is no option"),
        (["-x"], "-x is no option"),
        (["-s", "30"], "-s is no option"),
        (["photo.jpg", "-v"], "-v is no option"),
        (["-p=zoom in"], "-p=zoom in is no option"),
        (["--prompt=zoom in"], "--prompt=zoom in is no option"),
    ],
)
def test_what_is_not_meant_so_is_said_with_the_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments(arguments)
    assert end.value.code == WRONG_USAGE_EXIT
    assert capsys.readouterr().err == f"{said}\n\n{USAGE}\n"


def test_a_prompt_that_is_no_text_is_said() -> None:
    answer = completed("-m", "ops.local.demo", "zoom in on \udcff\udcfe", within_s=30)
    assert (answer.returncode, answer.stderr) == (1, "the prompt is not text in UTF-8\n")


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_the_usage_is_printed_in_any_locale(locale: str) -> None:
    answer = completed(
        "-m", "ops.local.demo", "--help", within_s=30, LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"
    )
    assert (answer.returncode, answer.stdout) == (0, USAGE + "\n")
