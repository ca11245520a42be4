"""UMT5's ids: what stands in `tokenizer.json` counts, whatever class the configuration names."""

import io
import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.checkpoint.tokenizer import read_tokenizer
from inference.wan.encode import TEXT_TOKENS

PAD, END, START, UNKNOWN = 0, 1, 2, 3
SPECIAL = ["<pad>", "</s>", "<s>", "<unk>"]
TEXTS = ["a dancing robot in the rain", "the camera pans slowly to the left", "一只猫在雨中行走", "镜头慢慢推近"]
POCKETS = Path("inference/pocket/trained/tokenizer")


@pytest.fixture(scope="module")
def umt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of a few pieces, in the files and with the special ids of google/umt5-xxl."""
    folder = tmp_path_factory.mktemp("umt5")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=model, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
        pad_id=PAD, eos_id=END, bos_id=START, unk_id=UNKNOWN,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    vocabulary = [[pieces.id_to_piece(at), pieces.get_score(at)] for at in range(pieces.get_piece_size())]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    text_then_end = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at, "content": token, **flags} for at, token in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": text_then_end,
            "pair": text_then_end,
            "special_tokens": {"</s>": {"id": "</s>", "ids": [END], "tokens": ["</s>"]}},
        },
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": UNKNOWN, "vocab": vocabulary, "byte_fallback": False},
    }
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    (folder / "tokenizer.json").write_text(json.dumps(described))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "tokenizer_class": "T5Tokenizer"}))
    return folder


@pytest.mark.parametrize(
    "text", ["a dancing robot 🤖 in the rain 🌧", "naïve ✓", "一只猫 Ω", *TEXTS, "a  robot,\nin (the) rain！"]
)
def test_ids_are_those_of_its_own_file(umt5: Path, text: str):
    own = Tokenizer.from_file(str(umt5 / "tokenizer.json"))
    assert read_tokenizer(umt5)(text).input_ids == own.encode(text).ids


def test_an_unknown_character_is_not_the_beginning_of_a_text(umt5: Path):
    ids = read_tokenizer(umt5)("a robot 🤖").input_ids
    assert UNKNOWN in ids
    assert START not in ids


def test_texts_are_padded_and_cut_as_the_encoder_asks(umt5: Path):
    tokens = read_tokenizer(umt5)(
        "a robot 🤖 " * 300, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_attention_mask=True
    )
    assert (len(tokens.input_ids), tokens.input_ids[-1]) == (TEXT_TOKENS, END)
    short = read_tokenizer(umt5)("a robot", padding="max_length", max_length=TEXT_TOKENS, return_attention_mask=True)
    length = sum(short.attention_mask)
    assert short.input_ids[length - 1] == END
    assert set(short.input_ids[length:]) == {PAD}


def test_a_configuration_that_names_no_padding_will_do(umt5: Path, tmp_path: Path):
    folder = shutil.copytree(umt5, tmp_path / "tokenizer")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "special_tokens_map.json").unlink()
    assert read_tokenizer(folder)(["a", "a robot"], padding=True).input_ids[0][-1] == PAD


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 16837417\n"


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("tokenizer.json", None, r"tokenizer\.json: expected this file .* found none$"),
        ("tokenizer.json", LFS, r"tokenizer\.json: .* found a git-lfs pointer, .*`git lfs pull`"),
        ("tokenizer.json", b"", "found an empty file$"),
        ("tokenizer.json", b"\0" * 600, "found zeros"),
        ("tokenizer.json", b"\n<!DOCTYPE html><title>401</title>", "found an HTML page"),
        ("tokenizer.json", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "found an XML document"),
        ("tokenizer.json", b'{"model": {"type": "Uni', r"found that it is not JSON: it ends before .*at byte \d+$"),
        ("tokenizer.json", b'{"error": "not found"}', "found no model in it$"),
        ("tokenizer.json", b'{"model": {"type": "Unigram", "vocab": 7}}', "found one that cannot be read$"),
        ("tokenizer.json", b"[]", r"found that it was \[\]; it may be an object in braces$"),
        ("tokenizer_config.json", None, r"tokenizer_config\.json: expected this file .* found none$"),
        ("tokenizer_config.json", LFS, "found a git-lfs pointer"),
        ("special_tokens_map.json", b"{", r"found that it is not JSON: it ends before .*at byte \d+$"),
        ("spiece.model", LFS, "found a git-lfs pointer"),
        ("spiece.model", b"", "found an empty file"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_sentence(
    umt5: Path, tmp_path: Path, file: str, content: bytes | None, found: str
):
    folder = shutil.copytree(umt5, tmp_path / "tokenizer")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=found) as refused:
        read_tokenizer(folder)
    assert "\n" not in str(refused.value)


def test_the_folder_itself_may_be_missing(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"expected this folder with UMT5's tokenizer, found none$"):
        read_tokenizer(tmp_path / "tokenizer")


def test_the_pocket_models_tokenizer_is_read_the_same_way():
    own = Tokenizer.from_file(str(POCKETS / "tokenizer.json"))
    own.no_padding()
    text = "the camera pans slowly to the left 🤖"
    assert read_tokenizer(POCKETS)(text).input_ids == own.encode(text).ids
