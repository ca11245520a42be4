from inference.wan import prompt_cache
from inference.wan.encode import encode_text
from inference.wan.load import Wan
from inference.wan.prompt_cache import PromptCache
from tests.kit.tiny import calls


def test_a_text_is_encoded_once_while_it_is_among_the_recent_ones(wan: Wan) -> None:
    wan.prompt_cache.clear()
    assert calls(wan.text_encoder, lambda: [encode_text(wan, "a boat"), encode_text(wan, "a boat")]) == 1
    wan.prompt_cache.clear()
    assert calls(wan.text_encoder, lambda: encode_text(wan, "a boat")) == 1


def test_the_one_that_was_not_wanted_for_longest_goes_first() -> None:
    encoded: list[str] = []
    kept = PromptCache()
    wanted = [str(n) for n in range(prompt_cache.PROMPTS_MAX)]
    for text in [*wanted, "0", "one more", "0", "1"]:
        kept.get(text, encoded.append)  # pyright: ignore[reportArgumentType]  # what is kept does not matter here
    assert encoded == [*wanted, "one more", "1"]
