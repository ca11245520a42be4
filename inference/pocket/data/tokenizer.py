"""Trains the pocket model's tokenizer on its own prompts: their words become one token each, all else bytes."""

from random import Random

from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from inference.pocket.data.motions import MOTIONS
from inference.pocket.data.prompts import prompt, prompt_without_motion
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, TEXT_TOKENS

VOCABULARY = 1536
# In this order their ids, 0 and 1, are those that UMT5 expects.
PAD, END = "<pad>", "</s>"
PROMPTS_A_MOTION = 200
SEED = 7


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-pair tokenizer trained on generated prompts; it is the same every time."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(_texts(), trainer)
    words.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, words.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=END,
        model_max_length=TEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def _texts() -> list[str]:
    """Return the texts to train on, the same every time, cleaned as those of jobs are."""
    rng = Random(SEED)
    asked = [prompt(motion, rng) for motion in MOTIONS for _ in range(PROMPTS_A_MOTION)]
    said_often = [DEFAULT_NEGATIVE_PROMPT] * PROMPTS_A_MOTION  # every guided job encodes it
    texts = [*asked, *(prompt_without_motion(rng) for _ in range(PROMPTS_A_MOTION)), *said_often]
    return list(map(prompt_clean, texts))  # as `encode_text` does with a job's prompt
