"""Records small.json: a SentencePiece BPE vocabulary as a GGUF file has it, and the ids SentencePiece gives texts.

    pip install sentencepiece==0.2.1 && python record.py LICENSE

The vocabulary is learned from any English text; settings are those of Llama 2.
"""

import io
import json
import random
import sys
from pathlib import Path

import sentencepiece as spm

# GGUF's token types.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
EXTRA = ["Größe und Maß", "déjà vu, garçon", "число и слово", "日本語 の 文", "x = y + 1\n\treturn x  # done"]
PARTS = ["the ", "license", "  ", " ", "\n", "\t", "ing", "re", "a", "é", "ß", "日本", "🎉", "12", "3.4", "_", "The", "ction", "<", "s>", "\u2581"]


def train(text: list[str]) -> spm.SentencePieceProcessor:
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        character_coverage=0.999,
        num_threads=1,
        minloglevel=2,
    )
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


def kind(model: spm.SentencePieceProcessor, id: int) -> int:
    if model.is_unknown(id):
        return UNKNOWN
    if model.is_control(id):
        return CONTROL
    return BYTE if model.is_byte(id) else NORMAL


def main():
    lines = Path(sys.argv[1]).read_text().splitlines()
    model = train([line for line in lines if line.strip()] + EXTRA)
    ids = range(model.get_piece_size())
    random.seed(2)
    mixed = ["".join(random.choices(PARTS, k=random.randint(1, 30))) for _ in range(300)]
    texts = EXTRA + random.sample([line for line in lines if line], 60) + mixed
    # A text must not spell a special token: those are looked for before SentencePiece sees the text.
    texts = [text for text in texts if "<s>" not in text]
    recorded = {
        "tokens": [model.id_to_piece(id) for id in ids],
        "scores": [model.get_score(id) for id in ids],
        "token_type": [kind(model, id) for id in ids],
        "texts": [{"text": text, "ids": model.encode(text)} for text in texts],
    }
    path = Path(__file__).parent / "small.json"
    path.write_text(json.dumps(recorded, ensure_ascii=False) + "\n")


main()
