from pathlib import Path

import pytest

from inference.checkpoint_url import not_fetched
from inference.wan.checkpoint.places import check_place
from inference.wan.checkpoint.tensors import CheckpointError

NAME = "Wan-AI/Wan2.1-I2V-14B-720P"


@pytest.mark.parametrize(
    ("address", "shown", "instead"),
    [
        (f"https://huggingface.co/{NAME}", f"https://huggingface.co/{NAME}", f"hf download {NAME} --local-dir FOLDER"),
        (f"https://huggingface.co/{NAME}/tree/main", "https://huggingface.co", f"hf download {NAME} --local-dir"),
        (f"HTTPS://hf.co/{NAME}?token=canary", f"https://hf.co/{NAME}: ", f"hf download {NAME} --local-dir"),
        ("https://huggingface.co", "https://huggingface.co: ", "hf download NAME --local-dir FOLDER"),
        (f"hf://{NAME}", f"hf://{NAME}", f"hf download {NAME} --local-dir FOLDER"),
        (f"huggingface.co/{NAME}", f"huggingface.co/{NAME}", f"hf download {NAME} --local-dir FOLDER"),
        ("s3://bucket/wan", "s3://bucket/wan: ", "aws s3 sync s3://bucket/wan FOLDER"),
        ("gs://bucket/wan", "gs://bucket/wan: ", "download it first, into a folder"),
        ("https://me:canary@example.org/wan.tar", "https://example.org/wan.tar: ", "download it first, into a folder"),
        ("file:///models/wan", "file:///models/wan: ", "write the folder's path alone"),
        ("s3://", "s3://: ", "download it first"),
    ],
)
def test_an_address_is_said_to_be_one_with_how_to_download_it(address: str, shown: str, instead: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        check_place(Path(address))
    said = str(refused.value)
    assert said.startswith(shown)
    assert "expected a folder with a Wan2.1 image-to-video checkpoint, found an address; addresses are not" in said
    assert instead in said and "canary" not in said


@pytest.mark.parametrize(
    "path", ["/models/wan", "models/wan", NAME, "C:/models", "a:b/c", "~/wan", "https", ".", "a//b"]
)
def test_no_other_path_is_taken_for_an_address(path: str) -> None:
    assert not_fetched(Path(path)) is None


def test_a_folder_that_is_named_like_an_address_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("https:/models")
    monkeypatch.chdir(tmp_path)
    folder.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"expected model_index\.json"):
        check_place(folder)
