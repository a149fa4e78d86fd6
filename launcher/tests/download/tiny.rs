//! The smallest model of the llama architecture, as a GGUF file.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::writer::{Gguf, Value};

pub(crate) const F32: u32 = 0;
pub(crate) const F16: u32 = 1;
pub(crate) const Q4_0: u32 = 2;
pub(crate) const Q8_0: u32 = 8;

pub(crate) const HIDDEN: u64 = 32;
pub(crate) const WIDE: u64 = 64;
pub(crate) const HEADS: u64 = 2;
pub(crate) const HEAD_DIM: u64 = 16;

pub(crate) fn strings(texts: &[&str]) -> Value {
    Value::Strs(texts.iter().map(|&text| text.to_owned()).collect())
}

/// Rows of blocks whose bytes differ from row to row; every scale is 1.
pub(crate) fn blocks(ggml_type: u32, cols: u64, rows: u64) -> Vec<u8> {
    let quants = if ggml_type == Q4_0 { 16 } else { 32 };
    let block = |index: u64| [0x00, 0x3C].into_iter().chain((0..quants).map(move |i| (7 * index + i) as u8));
    (0..rows * cols / 32).flat_map(block).collect()
}

fn floats(len: u64) -> Vec<u8> {
    (0..len).flat_map(|i| (1.0 + i as f32 / 64.0).to_le_bytes()).collect()
}

/// A byte-level vocabulary: the 256 bytes, a few merged tokens, two control tokens and a user-defined one.
pub(crate) fn byte_tokens() -> Vec<String> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100u32..;
    let mut letter = |byte: u8| if printable(&byte) { char::from(byte) } else { next_letter(&mut others) };
    let mut tokens: Vec<String> = (0..=255).map(|byte| letter(byte).to_string()).collect();
    tokens.extend(
        ["12", "34", "1234", "12345", "Ġ1", "th", "the", "Ġthe", "<|start|>", "<|end|>", "<note>"]
            .map(str::to_owned),
    );
    tokens
}

fn next_letter(letters: &mut std::ops::RangeFrom<u32>) -> char {
    letters.next().and_then(char::from_u32).expect("a letter")
}

pub(crate) const MERGES: [&str; 8] = ["1 2", "3 4", "12 34", "1234 5", "Ġ 1", "t h", "th e", "Ġ the"];
pub(crate) const START: u32 = 264;
pub(crate) const END: u32 = 265;
pub(crate) const NOTE: u32 = 266;

/// Metadata of the model, without a tokenizer.
pub(crate) fn metadata() -> Gguf {
    Gguf::new()
        .key("general.architecture", Value::Str("llama".into()))
        .key("llama.block_count", Value::U32(1))
        .key("llama.context_length", Value::U32(512))
        .key("llama.embedding_length", Value::U32(HIDDEN as u32))
        .key("llama.feed_forward_length", Value::U32(WIDE as u32))
        .key("llama.attention.head_count", Value::U32(HEADS as u32))
        .key("llama.attention.head_count_kv", Value::U32(1))
        .key("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        .key("llama.rope.freq_base", Value::F32(500_000.0))
}

/// Adds a byte-level tokenizer.
pub(crate) fn byte_level(file: Gguf, pre: &str) -> Gguf {
    let tokens = byte_tokens();
    let kind = |id: usize| match id as u32 {
        START | END => 3,
        NOTE => 4,
        _ => 1,
    };
    let kinds = (0..tokens.len()).map(kind).collect();
    file.key("tokenizer.ggml.model", Value::Str("gpt2".into()))
        .key("tokenizer.ggml.pre", Value::Str(pre.into()))
        .key("tokenizer.ggml.tokens", Value::Strs(tokens))
        .key("tokenizer.ggml.token_type", Value::I32s(kinds))
        .key("tokenizer.ggml.merges", strings(&MERGES))
        .key("tokenizer.ggml.bos_token_id", Value::U32(START))
        .key("tokenizer.ggml.eos_token_id", Value::U32(END))
}

/// Adds the tensors for a vocabulary of `vocab` tokens, tied.
pub(crate) fn tensors(file: Gguf, vocab: u64) -> Gguf {
    let matrix = |file: Gguf, name: &str, cols: u64, rows: u64| {
        file.tensor(&format!("blk.0.{name}.weight"), &[cols, rows], Q4_0, blocks(Q4_0, cols, rows))
    };
    let mut file = file
        .tensor("token_embd.weight", &[HIDDEN, vocab], Q8_0, blocks(Q8_0, HIDDEN, vocab))
        .tensor("output_norm.weight", &[HIDDEN], F32, floats(HIDDEN))
        .tensor("blk.0.attn_norm.weight", &[HIDDEN], F32, floats(HIDDEN))
        .tensor("blk.0.ffn_norm.weight", &[HIDDEN], F32, floats(HIDDEN));
    let (queries, keys) = (HEADS * HEAD_DIM, HEAD_DIM);
    for (name, cols, rows) in [
        ("attn_q", HIDDEN, queries),
        ("attn_k", HIDDEN, keys),
        ("attn_v", HIDDEN, keys),
        ("attn_output", queries, HIDDEN),
        ("ffn_gate", HIDDEN, WIDE),
        ("ffn_up", HIDDEN, WIDE),
        ("ffn_down", WIDE, HIDDEN),
    ] {
        file = matrix(file, name, cols, rows);
    }
    file
}

/// The whole model with a byte-level tokenizer.
pub(crate) fn model() -> Gguf {
    tensors(byte_level(metadata(), "smollm"), byte_tokens().len() as u64)
}

/// A folder with a file `tiny.gguf` in it.
pub(crate) struct Saved {
    pub(crate) root: TempDir,
    pub(crate) gguf: PathBuf,
}

pub(crate) fn save(file: &Gguf) -> Saved {
    let root = tempfile::tempdir().expect("a folder");
    let gguf = root.path().join("tiny.gguf");
    fs::write(&gguf, file.bytes()).expect("written");
    Saved { root, gguf }
}

/// Replaces the value of a key.
pub(crate) fn with(mut file: Gguf, key: &str, value: Value) -> Gguf {
    file.metadata.retain(|(name, _)| name != key);
    file.key(key, value)
}

pub(crate) fn json(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}
