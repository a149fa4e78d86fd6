"""Records the tiny checkpoints: saves each folder, loads it again, and notes what it answers."""

from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import tiny_tokenizer
import writing
from checkpoints import CHECKPOINTS, Checkpoint
from greedy import greedy_logits, logsumexp, ranked
from jsonfile import as_f32, compact, write_pretty, write_text

STEPS = 48
# Every greedy choice beats the runner-up by this much, far above what another order of summation can move.
MARGIN = 0.02


def record(folder: Path) -> None:
    tokenizer = tiny_tokenizer.train()
    for checkpoint in CHECKPOINTS:
        record_checkpoint(checkpoint, tokenizer, folder / checkpoint.name)
        print(checkpoint.name, flush=True)


def record_checkpoint(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer = tiny_tokenizer.with_bos(tokenizer) if checkpoint.bos else tokenizer
    weights = spread_weights(checkpoint)
    save(checkpoint, weights, tokenizer, folder)
    prompts = [(text, tokenizer.encode(text).ids) for text in texts(checkpoint, tokenizer)]
    # A fresh model for each case: under dynamic scaling a model remembers how long it has grown.
    cases = [case(in_memory(checkpoint, weights), text, ids) for text, ids in prompts]
    assert cases == reloaded_cases(folder, prompts)
    check_margins(checkpoint, cases)
    write_text(folder / "expected.json", '{"cases":[\n' + ",\n".join(compact(case) for case in cases) + "\n]}\n")


def spread_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Seeded weights, already rounded to the stored type, in the order the model names them."""
    generator = torch.Generator().manual_seed(checkpoint.seed)
    shapes = {name: tensor.shape for name, tensor in fresh_model(checkpoint).state_dict().items()}
    if checkpoint.config["tie_word_embeddings"]:
        del shapes["lm_head.weight"]
    return {name: spread(name, shape, generator).to(checkpoint.dtype) for name, shape in shapes.items()}


def spread(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Wide enough that layers outweigh the embedding (else a tied model repeats itself) and choices have margins."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.1 * noise
    if len(shape) == 1:
        return 0.3 * noise
    if "embed_tokens" in name:
        return noise
    gain = 4.0 if "lm_head" in name else 1.6 if "q_proj" in name or "k_proj" in name else 2.5
    return gain * noise / shape[1] ** 0.5


def fresh_model(checkpoint: Checkpoint):
    config = LlamaConfig.from_dict(dict(checkpoint.config))
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()


def in_memory(checkpoint: Checkpoint, weights: dict[str, torch.Tensor]):
    model = fresh_model(checkpoint)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    model.tie_weights()
    return model


def save(checkpoint: Checkpoint, weights: dict[str, torch.Tensor], tokenizer: Tokenizer, folder: Path) -> None:
    config = checkpoint.config
    write_pretty(folder / "config.json", config)
    generation = {"_from_model_config": True, "bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    generation |= {"pad_token_id": config["pad_token_id"], "transformers_version": config["transformers_version"]}
    write_pretty(folder / "generation_config.json", generation)
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    write_pretty(folder / "tokenizer_config.json", tiny_tokenizer.config(checkpoint.bos, config["max_position_embeddings"]))
    save_weights(weights, checkpoint.shards, folder)


def save_weights(weights: dict[str, torch.Tensor], shards: int, folder: Path) -> None:
    """One file, or several of about the same number of tensors with an index."""
    if shards == 1:
        save_shard(weights, folder / "model.safetensors")
        return
    names, placed = list(weights), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        chosen = names[len(names) * shard // shards : len(names) * (shard + 1) // shards]
        save_shard({name: weights[name] for name in chosen}, folder / file)
        placed |= dict.fromkeys(chosen, file)
    total = sum(tensor.nbytes for tensor in weights.values())
    write_pretty(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))})


def save_shard(weights: dict[str, torch.Tensor], path: Path) -> None:
    save_file(weights, path, metadata={"format": "pt"})
    # safetensors leaves its files to their owner alone.
    path.chmod(0o644)


def texts(checkpoint: Checkpoint, tokenizer: Tokenizer) -> list[str]:
    rng = Random(checkpoint.name)
    return [text_of(length, rng, tokenizer) for length in checkpoint.lengths]


def text_of(length: int, rng: Random, tokenizer: Tokenizer) -> str:
    """Invented text cut to exactly so many tokens; drawn again where a character of several tokens jumps over it."""
    while True:
        text = writing.mixed(rng, 3) + " " + writing.prose(rng, 12)
        for end in range(1, 4 * length):
            if len(tokenizer.encode(text[:end]).ids) == length:
                return text[:end]


def case(model, text: str, ids: list[int]) -> dict:
    steps = list(greedy_logits(model, ids, STEPS))
    best = [ranked(logits) for logits in steps]
    return {
        "text": text,
        "ids": ids,
        "last_logits": [as_f32(value) for value in steps[0].tolist()],
        "greedy": [order[0].item() for _, order in best],
        "gaps": [as_f32((values[0] - values[1]).item()) for values, _ in best],
        "step_logsumexp": [as_f32(logsumexp(logits)) for logits in steps],
    }


def reloaded_cases(folder: Path, prompts: list[tuple[str, list[int]]]) -> list[dict]:
    """The same cases from nothing but the saved folder, as any other program would read it."""
    load = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert all(tokenizer(text)["input_ids"] == ids for text, ids in prompts)
    return [case(load(), text, ids) for text, ids in prompts]


def check_margins(checkpoint: Checkpoint, cases: list[dict]) -> None:
    smallest = min(gap for case in cases for gap in case["gaps"])
    assert smallest >= MARGIN, f"{checkpoint.name}: a greedy choice has a margin of {smallest}, try another seed"
    for case in cases:
        assert len(set(case["greedy"])) >= STEPS // 4, f"{checkpoint.name}: repeats itself, try another seed"
