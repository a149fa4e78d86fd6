//! Files that are not converted: one line that names the file and the key or tensor, and nothing left behind.

use std::fs;

use gristmill_launcher::download::gguf_to_folder;

use crate::tiny::{self, F16, F32, Q8_0, byte_level, metadata, save, strings, with};
use crate::writer::{Gguf, Value};

fn problem(file: &Gguf) -> String {
    let saved = save(file);
    let error = gguf_to_folder(&saved.gguf, &saved.root.path().join("out")).expect_err("refused").to_string();
    let names: Vec<_> =
        fs::read_dir(saved.root.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["tiny.gguf"]);
    assert!(!error.contains('\n'), "{error}");
    let path = format!("{}: ", saved.gguf.display());
    error.strip_prefix(&path).unwrap_or_else(|| panic!("{error} names the file")).to_owned()
}

fn changed(key: &str, value: Value) -> String {
    problem(&with(tiny::model(), key, value))
}

fn text(value: &str) -> Value {
    Value::Str(value.into())
}

#[test]
fn other_kinds_of_model_are_refused_by_name() {
    assert_eq!(
        changed("general.architecture", text("gemma3")),
        "key \"general.architecture\": \"gemma3\" is not served, only llama"
    );
    assert_eq!(
        changed("llama.expert_count", Value::U32(8)),
        "key \"llama.expert_count\": a mixture of 8 experts is not served"
    );
    assert_eq!(
        changed("split.count", Value::U32(2)),
        "key \"split.count\": the model is split into 2 files, which is not served: merge them first"
    );
    assert_eq!(
        changed("general.name", Value::Raw(13, vec![])),
        "key \"general.name\": unknown value type 13"
    );
    assert_eq!(problem(&Gguf::new()), "key \"general.architecture\": is missing");
}

#[test]
fn tensors_are_checked_against_the_metadata() {
    let without = |name: &str| {
        let mut file = tiny::model();
        file.tensors.retain(|tensor| tensor.name != name);
        problem(&file)
    };
    assert_eq!(without("token_embd.weight"), "tensor \"token_embd.weight\": is missing");
    assert_eq!(without("blk.0.ffn_up.weight"), "tensor \"blk.0.ffn_up.weight\": is missing");
    assert_eq!(
        changed("llama.block_count", Value::U32(u32::MAX)),
        "tensor \"blk.1.attn_norm.weight\": is missing"
    );
    assert_eq!(
        changed("llama.feed_forward_length", Value::U32(96)),
        "tensor \"blk.0.ffn_gate.weight\": dimensions [32, 64], but the metadata asks for [32, 96]"
    );
    assert_eq!(
        changed("llama.attention.head_count_kv", Value::U32(2)),
        "tensor \"blk.0.attn_k.weight\": dimensions [32, 16], but the metadata asks for [32, 32]"
    );
    assert_eq!(
        changed("llama.vocab_size", Value::U32(300)),
        "key \"llama.vocab_size\": is 300, but tensor \"token_embd.weight\" has 267 rows"
    );
    let bias = tiny::model().tensor("blk.0.attn_q.bias", &[32], F32, vec![0; 128]);
    assert_eq!(problem(&bias), "tensor \"blk.0.attn_q.bias\": is not part of a llama model that is served");
    let mut norm = tiny::model();
    let vector =
        norm.tensors.iter_mut().find(|tensor| tensor.name == "output_norm.weight").expect("a tensor");
    (vector.ggml_type, vector.data) = (Q8_0, vec![0; 34]);
    assert_eq!(problem(&norm), "tensor \"output_norm.weight\": a vector in Q8_0 blocks is not served");
}

#[test]
fn numbers_that_make_no_sense_are_named() {
    for key in
        ["embedding_length", "feed_forward_length", "block_count", "context_length", "attention.head_count"]
    {
        let key = format!("llama.{key}");
        assert_eq!(changed(&key, Value::U32(0)), format!("key \"{key}\": must not be zero"));
        assert_eq!(changed(&key, text("x")), format!("key \"{key}\": is a string, not an unsigned integer"));
    }
    assert_eq!(
        changed("llama.attention.head_count", Value::U32(64)),
        "key \"llama.attention.head_count\": heads of 0 values are not served"
    );
    assert_eq!(
        changed("llama.rope.dimension_count", Value::U32(8)),
        "key \"llama.rope.dimension_count\": is 8, which is not served for heads of 16"
    );
    assert_eq!(
        changed("llama.rope.freq_base", Value::F32(f32::NAN)),
        "key \"llama.rope.freq_base\": NaN is not a base of frequencies"
    );
}

#[test]
fn other_rope_scalings_are_refused_by_name() {
    assert_eq!(
        changed("llama.rope.scaling.type", text("longrope")),
        "key \"llama.rope.scaling.type\": \"longrope\" is not served, only none, linear and yarn"
    );
    assert_eq!(
        changed("llama.rope.scaling.type", text("yarn")),
        "key \"llama.rope.scaling.factor\": is missing"
    );
    let factors = |bytes: Vec<u8>| tiny::model().tensor("rope_freqs.weight", &[8], F32, bytes);
    assert_eq!(
        problem(&factors(2f32.to_le_bytes().repeat(8))),
        "tensor \"rope_freqs.weight\": its factors are not those of a Llama 3 model, which is not served"
    );
    assert_eq!(
        problem(&factors(f32::NAN.to_le_bytes().repeat(8))),
        "tensor \"rope_freqs.weight\": its factors are not those of a Llama 3 model, which is not served"
    );
    let half = tiny::model().tensor("rope_freqs.weight", &[8], F16, vec![0; 16]);
    assert_eq!(problem(&half), "tensor \"rope_freqs.weight\": is not 8 values of F32");
}

#[test]
fn wrong_vocabularies_are_named() {
    assert_eq!(
        changed("tokenizer.ggml.model", text("bert")),
        "key \"tokenizer.ggml.model\": \"bert\" is not served, only gpt2 and llama"
    );
    let pre = changed("tokenizer.ggml.pre", text("falcon"));
    assert!(
        pre.starts_with("key \"tokenizer.ggml.pre\": \"falcon\" is not served, only gpt-2, phi-2, "),
        "{pre}"
    );
    assert_eq!(
        changed("tokenizer.ggml.eos_token_id", Value::U32(267)),
        "key \"tokenizer.ggml.eos_token_id\": 267 is not one of the 267 tokens"
    );
    let mut twice = tiny::byte_tokens();
    twice[9] = "the".into();
    assert_eq!(
        changed("tokenizer.ggml.tokens", Value::Strs(twice)),
        "key \"tokenizer.ggml.tokens\": tokens 9 and 262 are the same text"
    );
    let mut many = tiny::byte_tokens();
    many.push("more".into());
    assert_eq!(
        changed("tokenizer.ggml.tokens", Value::Strs(many)),
        "key \"tokenizer.ggml.tokens\": 268 tokens for 267 embeddings"
    );
    assert_eq!(
        changed("tokenizer.ggml.token_type", Value::I32s(vec![1; 3])),
        "key \"tokenizer.ggml.token_type\": 3 types for 267 tokens"
    );
}

#[test]
fn wrong_merges_and_scores_are_named() {
    for wrong in ["1", "1 9", "x yz", " "] {
        assert_eq!(
            changed("tokenizer.ggml.merges", strings(&["1 2", wrong])),
            "key \"tokenizer.ggml.merges\": entry 1 is not a pair of tokens that are one token together"
        );
    }
    let scored = |scores: Vec<f32>| {
        let file = with(tiny::model(), "tokenizer.ggml.model", text("llama"));
        problem(&with(file, "tokenizer.ggml.scores", Value::F32s(scores)))
    };
    let expected = "key \"tokenizer.ggml.scores\": is not a number for each of 267 tokens";
    assert_eq!(scored(vec![0.0; 3]), expected);
    assert_eq!(scored(vec![f32::NAN; 267]), expected);
}

#[test]
fn a_bos_that_is_asked_for_must_be_there() {
    let mut file = byte_level(metadata(), "smollm").key("tokenizer.ggml.add_bos_token", Value::Bool(true));
    file.metadata.retain(|(key, _)| key != "tokenizer.ggml.bos_token_id");
    assert_eq!(
        problem(&tiny::tensors(file, 267)),
        "key \"tokenizer.ggml.bos_token_id\": is missing, but every text shall have BOS"
    );
}

#[test]
fn a_cut_file_is_refused_everywhere() {
    let bytes = tiny::model().bytes();
    let folder = tempfile::tempdir().expect("a folder");
    let (gguf, out) = (folder.path().join("cut.gguf"), folder.path().join("out"));
    for end in (0..bytes.len()).step_by(64) {
        fs::write(&gguf, &bytes[..end]).expect("written");
        let error = gguf_to_folder(&gguf, &out).expect_err("refused").to_string();
        assert!(error.starts_with(gguf.to_str().expect("UTF-8")), "{error}");
        assert!(!out.exists());
    }
}

#[test]
fn a_folder_in_use_is_not_replaced() {
    let saved = save(&tiny::model());
    let out = saved.root.path().join("out");
    fs::create_dir(&out).expect("made");
    fs::write(out.join("mine"), "kept").expect("written");
    let error = gguf_to_folder(&saved.gguf, &out).expect_err("refused").to_string();
    assert_eq!(error, format!("{}: directory not empty", out.display()));
    assert_eq!(fs::read(out.join("mine")).expect("still there"), b"kept");
}
