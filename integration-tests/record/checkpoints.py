"""The tiny checkpoints: what each one is there to cover, written as its config.json says it."""

from dataclasses import dataclass

import torch

from tiny_tokenizer import BOS, EOS, PAD, SIZE


@dataclass(frozen=True)
class Checkpoint:
    name: str
    config: dict
    # Chosen by trying seeds in turn: the first whose greedy choices all have a margin (see tiny.MARGIN).
    seed: int
    dtype: torch.dtype
    # Prompt lengths in tokens.
    lengths: tuple[int, ...]
    bos: bool = False
    shards: int = 1


def shape(**changes) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": PAD,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": SIZE,
    } | changes


def old_spelling(dtype: str, scaling: dict | None = None, **changes) -> dict:
    """As transformers 4 wrote it: `torch_dtype`, `rope_theta` beside `rope_scaling`, no head_dim."""
    spelling = {"rope_scaling": scaling, "rope_theta": 10000.0, "torch_dtype": dtype, "transformers_version": "4.46.0"}
    return shape() | spelling | changes


def new_spelling(dtype: str, rope: dict, **changes) -> dict:
    """As transformers 5 writes it: `dtype`, everything about rope in `rope_parameters`, head_dim always there."""
    spelling = {"dtype": dtype, "head_dim": 16, "rope_parameters": {"rope_theta": 10000.0} | rope, "transformers_version": "5.19.0"}
    return shape() | spelling | changes


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

CHECKPOINTS = [
    # Hidden 48 and one KV head per head: f32 weights of two matrices 512 wide must fit 400 kB.
    Checkpoint(
        name="llama-plain",
        config=old_spelling("float32", hidden_size=48, intermediate_size=64, num_attention_heads=3, num_key_value_heads=3),
        seed=4,
        dtype=torch.float32,
        lengths=(2, 17, 42, 100),
        bos=True,
    ),
    # Heads wider than hidden_size / num_attention_heads: q comes out 128 wide from 64.
    Checkpoint(
        name="llama-tied-bf16",
        config=new_spelling("bfloat16", {"rope_type": "default"}, head_dim=32, tie_word_embeddings=True),
        seed=4,
        dtype=torch.bfloat16,
        lengths=(1, 17, 42, 100),
    ),
    Checkpoint(
        name="llama-f16-sharded",
        config=old_spelling("float16", attention_bias=True, mlp_bias=True, num_hidden_layers=3),
        seed=1,
        dtype=torch.float16,
        lengths=(1, 17, 42, 100),
        shards=3,
    ),
    Checkpoint(
        name="llama-linear",
        config=old_spelling("bfloat16", {"type": "linear", "factor": 4.0}),
        seed=5,
        dtype=torch.bfloat16,
        lengths=(1, 17, 42, 100),
    ),
    # Prompts below and above 64 tokens, one that passes 64 while decoding, one past 64 * factor.
    Checkpoint(
        name="llama-dynamic",
        config=old_spelling("bfloat16", {"type": "dynamic", "factor": 2.0}, max_position_embeddings=64),
        seed=22,
        dtype=torch.bfloat16,
        lengths=(9, 42, 70, 100),
    ),
    Checkpoint(
        name="llama-llama3",
        config=old_spelling("bfloat16", LLAMA3, tie_word_embeddings=True),
        seed=0,
        dtype=torch.bfloat16,
        lengths=(2, 17, 42, 100),
        bos=True,
    ),
    # 76 prompt tokens and 48 more stay within 32 * factor.
    Checkpoint(
        name="llama-yarn",
        config=new_spelling("bfloat16", YARN, max_position_embeddings=128, num_hidden_layers=3),
        seed=25,
        dtype=torch.bfloat16,
        lengths=(1, 17, 42, 76),
    ),
]
