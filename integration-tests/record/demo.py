"""The demo model, SmolLM2-135M-Instruct, taken out of its GGUF file.

Weights are widened to f32, rounded to bf16 (nearest even) and computed with in f32, so a server that stores
bf16 and multiplies in f32 holds exactly these numbers.
"""

from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

# GGUF's token_type of a special token.
CONTROL = 3

LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_TENSORS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


class Demo:
    """One GGUF file, read: `model()` and `tokenizer()` are built from its metadata alone."""

    def __init__(self, gguf: Path):
        self.reader = GGUFReader(gguf)

    def field(self, key: str):
        return self.reader.fields[key].contents()

    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.field("llama.vocab_size"),
            hidden_size=self.field("llama.embedding_length"),
            intermediate_size=self.field("llama.feed_forward_length"),
            num_hidden_layers=self.field("llama.block_count"),
            num_attention_heads=self.field("llama.attention.head_count"),
            num_key_value_heads=self.field("llama.attention.head_count_kv"),
            max_position_embeddings=self.field("llama.context_length"),
            # The file has the f32 nearest to 1e-5; written out as f64 that reads 9.999999747e-06.
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": self.field("llama.rope.freq_base")},
            bos_token_id=self.field("tokenizer.ggml.bos_token_id"),
            eos_token_id=self.field("tokenizer.ggml.eos_token_id"),
            pad_token_id=self.field("tokenizer.ggml.padding_token_id"),
            tie_word_embeddings=True,
        )

    def model(self):
        config = self.config()
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
        missing, unexpected = model.load_state_dict(self.weights(config), strict=False)
        # The output matrix is the embedding matrix, so the file has none of its own.
        assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
        model.tie_weights()
        return model.eval()

    def weights(self, config: LlamaConfig) -> dict[str, torch.Tensor]:
        rows = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        weights = {}
        for tensor in self.reader.tensors:
            wide = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            kind = tensor.name.split(".")[-2]
            if kind in rows:
                wide = unpermuted(wide, rows[kind])
            weights[hub_name(tensor.name)] = wide.to(torch.bfloat16).to(torch.float32)
        return weights

    def tokenizer(self) -> Tokenizer:
        """What GGUF's `pre = smollm` means: every digit alone, then the byte-level split; nothing is added."""
        tokens = self.field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.field("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        kinds = self.field("tokenizer.ggml.token_type")
        special = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        assert tokenizer.get_vocab_size() == len(tokens)
        return tokenizer

    def chat_tokenizer(self) -> PreTrainedTokenizerFast:
        tokens = self.field("tokenizer.ggml.tokens")
        names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
        named = {name: tokens[self.field(f"tokenizer.ggml.{key}_token_id")] for name, key in names.items()}
        template = self.field("tokenizer.chat_template")
        return PreTrainedTokenizerFast(tokenizer_object=self.tokenizer(), chat_template=template, **named)


def hub_name(name: str) -> str:
    if name in OTHER_TENSORS:
        return OTHER_TENSORS[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[kind]}.weight"


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes the row order GGUF gives Q and K: it pairs neighbours (2i, 2i+1), the hub pairs halves (i, i+d/2)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
