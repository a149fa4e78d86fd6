"""Greedy decoding with a KV cache, one prompt at a time, end-of-sequence ignored."""

from collections.abc import Iterator

import torch


@torch.no_grad()
def greedy_logits(model, ids: list[int], steps: int) -> Iterator[torch.Tensor]:
    """Yields the f32 logits of each step; step 0 belongs to the prompt's last position.

    The prompt goes in whole, every later step feeds the one id chosen before it.
    """
    fed, cache = torch.tensor([ids]), None
    for _ in range(steps):
        out = model(fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits, cache = out.logits[0, -1], out.past_key_values
        assert logits.dtype == torch.float32
        yield logits
        fed = ranked(logits)[1][:1].view(1, 1)


def ranked(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids in descending order; a stable sort puts the lower id first among equals."""
    return torch.sort(logits, descending=True, stable=True)


def logsumexp(logits: torch.Tensor) -> float:
    """Summed in f64: the recorded figure should not carry a summation order of its own."""
    return torch.logsumexp(logits.double(), dim=-1).item()
