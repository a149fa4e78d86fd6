"""Records rope frequencies as transformers computes them, for the unit tests of the model crate."""

from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from jsonfile import as_f32, write_lines

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0}

# Head width, positions, base, and the rest of `rope_parameters`.
CASES = [
    (64, 2048, 10000.0, {"rope_type": "default"}),
    (16, 256, 100000.0, {"rope_type": "default"}),
    (128, 8192, 500000.0, {"rope_type": "default"}),
    (64, 4096, 10000.0, {"rope_type": "linear", "factor": 2.5}),
    (64, 2048, 10000.0, DYNAMIC),
    (128, 131072, 500000.0, LLAMA3 | {"original_max_position_embeddings": 8192}),
    (64, 131072, 500000.0, LLAMA3 | {"factor": 32.0, "original_max_position_embeddings": 8192}),
    (32, 4096, 10000.0, LLAMA3 | {"low_freq_factor": 0.5, "high_freq_factor": 3.0}),
    (128, 8192, 10000.0, YARN),
    (64, 8192, 1000000.0, YARN | {"factor": 1.0}),
    (64, 8192, 10000.0, YARN | {"mscale": 0.707, "mscale_all_dim": 1.3}),
    (64, 8192, 10000.0, YARN | {"mscale": 0.707}),
    (64, 8192, 10000.0, YARN | {"mscale": 0.707, "mscale_all_dim": 0}),
    (64, 8192, 10000.0, YARN | {"attention_factor": 0.8}),
    (64, 8192, 10000.0, YARN | {"truncate": False}),
    (64, 8192, 10000.0, YARN | {"beta_fast": 64.0, "beta_slow": 2.0}),
    (64, 8192, 10000.0, YARN | {"beta_fast": 6.0, "beta_slow": 2.5, "truncate": False}),
    (16, 64, 10000.0, YARN | {"original_max_position_embeddings": 4}),
]
# Sequence lengths at which a rope that depends on it is recorded: below, at and beyond the 2,048 positions.
LENGTHS = [1, 2048, 2049, 3000, 8192, 100000]


def record(path: Path) -> None:
    write_lines(path, [case for settings in CASES for case in cases(*settings)])


def cases(head_dim: int, positions: int, theta: float, parameters: dict) -> list[dict]:
    lengths = LENGTHS if parameters["rope_type"] == "dynamic" else [positions]
    return [case(head_dim, positions, parameters | {"rope_theta": theta}, length) for length in lengths]


def case(head_dim: int, positions: int, parameters: dict, length: int) -> dict:
    shown = {"head_dim": head_dim, "max_position_embeddings": positions, "rope_parameters": dict(parameters)}
    # The configuration writes into the dictionary it is given.
    config = LlamaConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=positions,
        rope_parameters=dict(parameters),
    )
    init = ROPE_INIT_FUNCTIONS.get(parameters["rope_type"], LlamaRotaryEmbedding.compute_default_rope_parameters)
    # As a running model passes it: a tensor, so that the base is computed in f32.
    inv_freq, factor = init(config, device=None, seq_len=torch.tensor(length))
    return shown | {
        "length": length,
        "attention_factor": as_f32(factor),
        "inv_freq": [as_f32(value) for value in inv_freq.tolist()],
    }
