"""One byte-level BPE tokenizer of exactly 512 ids for all tiny checkpoints.

Ids: 0 `<s>`, 1 `</s>`, 2 `<pad>`, 3..258 the 256 bytes, then 253 merges learned from a small invented text.
"""

from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import writing

SIZE = 512
SPECIAL = ["<s>", "</s>", "<pad>"]
BOS, EOS, PAD = range(3)


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([corpus()], trainer)
    assert tokenizer.get_vocab_size() == SIZE and tokenizer.token_to_id("<s>") == BOS
    return tokenizer


def corpus() -> str:
    rng = Random(512)
    return writing.prose(rng, 400) + "".join(writing.code(rng) for _ in range(30))


def with_bos(tokenizer: Tokenizer) -> Tokenizer:
    """A copy whose post-processor puts `<s>` in front."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    template = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", BOS)])
    copy.post_processor = template
    return copy


def config(bos: bool, limit: int) -> dict:
    """tokenizer_config.json; the class name is one that every version of transformers knows."""
    return {
        "add_bos_token": bos,
        "add_eos_token": False,
        "added_tokens_decoder": {str(id): added(token) for id, token in enumerate(SPECIAL)},
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": limit,
        "pad_token": "<pad>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def added(token: str) -> dict:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {"content": token, **flags}
