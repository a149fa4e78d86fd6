"""Records what transformers' own processors make of small logits vectors."""

from pathlib import Path

import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from jsonfile import as_f32, write_lines

SIZE = 64
NEUTRAL = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
}
ALONE = {
    "temperature": [0.05, 0.5, 0.7, 1.3, 3.0],
    "top_k": [1, 3, 10, 63, 100],
    "top_p": [0.05, 0.5, 0.9, 0.99],
    "typical_p": [0.1, 0.5, 0.9, 0.99],
    "repetition_penalty": [0.7, 1.1, 1.3, 2.0],
    "frequency_penalty": [-0.5, 0.1, 0.5, 1.5],
}
TOGETHER = [
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.5, "top_k": 20},
    {"temperature": 0.3, "top_k": 40, "top_p": 0.95},
    {"top_k": 8, "top_p": 0.6},
    {"top_k": 12, "typical_p": 0.8},
    {"top_p": 0.8, "typical_p": 0.6},
    {"temperature": 2.0, "typical_p": 0.3},
    {"repetition_penalty": 1.2, "temperature": 0.8},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.4},
    {"repetition_penalty": 1.5, "top_k": 5},
    {"frequency_penalty": 1.0, "top_p": 0.7},
    {"frequency_penalty": -1.0, "temperature": 0.6, "typical_p": 0.9},
    {"repetition_penalty": 1.1, "frequency_penalty": 0.2, "temperature": 0.9, "top_k": 30, "top_p": 0.92, "typical_p": 0.95},
    {"repetition_penalty": 0.9, "frequency_penalty": 0.7, "temperature": 1.8, "top_k": 50, "top_p": 0.5, "typical_p": 0.4},
]
# How wide the logits of successive cases are spread: flat, ordinary, sharp.
SPREADS = [0.5, 2.0, 4.0, 8.0]
# Moving every logit by up to this much must not change which ids survive.
NUDGE = 1e-4


def record(path: Path) -> None:
    settings = [{}] + [{name: value} for name, values in ALONE.items() for value in values] + TOGETHER
    generator = torch.Generator().manual_seed(64)
    cases = [steady_case(number, NEUTRAL | changes, generator) for number, changes in enumerate(settings)]
    write_lines(path, cases + [tied_case(generator)])


def steady_case(number: int, settings: dict, generator: torch.Generator) -> dict:
    """Draws until rounding elsewhere could not tip an id over a boundary."""
    spread = SPREADS[number % len(SPREADS)]
    context = draw_context(number, generator)
    while True:
        logits = draw_logits(spread, generator)
        if is_steady(logits, context, settings, generator):
            return case(logits, context, settings)


def tied_case(generator: torch.Generator) -> dict:
    """Five equal logits across the top-k boundary: transformers keeps all that equal the k-th."""
    logits = draw_logits(2.0, generator)
    logits[[3, 17, 18, 40, 63]] = logits.sort(descending=True).values[4]
    return case(logits, [1, 2, 3], NEUTRAL | {"top_k": 7})


def draw_logits(spread: float, generator: torch.Generator) -> torch.Tensor:
    """Multiples of 2^-12: short in decimal and exact in f32."""
    return (spread * torch.randn(SIZE, generator=generator) * 4096).round() / 4096


def draw_context(number: int, generator: torch.Generator) -> list[int]:
    """From one id to forty, out of a third of the vocabulary so that some repeat."""
    length = 1 + number * 7 % 40
    return torch.randint(0, SIZE // 3, (length,), generator=generator).mul(3).tolist()


def is_steady(logits: torch.Tensor, context: list[int], settings: dict, generator: torch.Generator) -> bool:
    kept = warped(logits, context, settings).isfinite()
    nudges = [NUDGE * (2 * torch.rand(SIZE, generator=generator) - 1) for _ in range(8)]
    return all(torch.equal(kept, warped(logits + nudge, context, settings).isfinite()) for nudge in nudges)


def case(logits: torch.Tensor, context: list[int], settings: dict) -> dict:
    logprobs = torch.log_softmax(warped(logits, context, settings), dim=-1).tolist()
    shown = [None if value == float("-inf") else as_f32(value) for value in logprobs]
    return {"logits": logits.tolist(), "ids": context} | settings | {"logprobs": shown}


def warped(logits: torch.Tensor, context: list[int], settings: dict) -> torch.Tensor:
    """In the order Text Generation Inference applies them; a neutral setting is left out."""
    ids, scores = torch.tensor([context]), logits[None].clone()
    if settings["repetition_penalty"] != 1.0:
        scores = RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"])(ids, scores)
    if settings["frequency_penalty"] != 0.0:
        scores = frequency_penalized(ids, scores, settings["frequency_penalty"])
    if settings["temperature"] != 1.0:
        scores = TemperatureLogitsWarper(settings["temperature"])(ids, scores)
    if settings["top_k"] != 0:
        scores = TopKLogitsWarper(settings["top_k"])(ids, scores)
    if settings["top_p"] < 1.0:
        scores = TopPLogitsWarper(settings["top_p"])(ids, scores)
    if settings["typical_p"] < 1.0:
        scores = TypicalLogitsWarper(settings["typical_p"])(ids, scores)
    return scores[0]


def frequency_penalized(ids: torch.Tensor, scores: torch.Tensor, penalty: float) -> torch.Tensor:
    """Each id loses the penalty times its share of the context; transformers has no such processor."""
    share = torch.bincount(ids[0], minlength=SIZE).to(torch.float32) / ids.shape[1]
    return scores - penalty * share
