"""Records the demo model: prompts, logits, greedy steps, token ids, rendered chats."""

import struct
from pathlib import Path

import numpy as np
import torch

from chats import CHATS
from demo import Demo
from greedy import greedy_logits, logsumexp, ranked
from jsonfile import write_lines
from prompts import prompts
from strings import strings

STEPS = 64
TOP = 32
CODES = 65535


def record(gguf: Path, folder: Path) -> None:
    demo = Demo(gguf)
    write_lines(folder / "tokens.json", tokens(demo))
    write_lines(folder / "chat.json", chats(demo))
    items = [{"text": text, "ids": ids} for text, ids in encoded(demo, prompts())]
    write_lines(folder / "prompts.json", items)
    record_logits(demo.model(), [item["ids"] for item in items], folder)


def encoded(demo: Demo, texts: list[str]) -> list[tuple[str, list[int]]]:
    """Ids by the tokenizers library, checked against the transformers class a user would call."""
    tokenizer, wrapped = demo.tokenizer(), demo.chat_tokenizer()
    pairs = [(text, tokenizer.encode(text, add_special_tokens=True).ids) for text in texts]
    for text, ids in pairs:
        assert wrapped(text)["input_ids"] == ids, text
    return pairs


def tokens(demo: Demo) -> list[list]:
    return [[text, ids] for text, ids in encoded(demo, strings())]


def chats(demo: Demo) -> list[dict]:
    tokenizer = demo.chat_tokenizer()
    render = lambda chat: tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return [{"messages": chat, "rendered": render(chat)} for chat in CHATS]


def record_logits(model, prompt_ids: list[list[int]], folder: Path) -> None:
    with open(folder / "last_logits.bin", "wb") as last, open(folder / "greedy.bin", "wb") as greedy:
        for number, ids in enumerate(prompt_ids):
            for step, logits in enumerate(greedy_logits(model, ids, STEPS)):
                if step == 0:
                    last.write(packed_vector(logits))
                greedy.write(packed_step(logits))
            print(f"prompt {number + 1} of {len(prompt_ids)}: {len(ids)} tokens", flush=True)


def packed_vector(logits: torch.Tensor) -> bytes:
    """Minimum, maximum, then each value as a 16-bit share of that range."""
    values = logits.numpy().astype(np.float64)
    low, high = values.min(), values.max()
    codes = np.rint((values - low) / (high - low) * CODES).astype("<u2")
    return struct.pack("<ff", low, high) + codes.tobytes()


def packed_step(logits: torch.Tensor) -> bytes:
    """The chosen id, the log-sum-exp, then the best ids with their logits."""
    values, ids = (part[:TOP].tolist() for part in ranked(logits))
    best = b"".join(struct.pack("<If", id, value) for id, value in zip(ids, values))
    return struct.pack("<If", ids[0], logsumexp(logits)) + best
