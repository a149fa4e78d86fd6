//! The tokenizer of a converted file, loaded as the server loads it.

use gristmill_launcher::download::gguf_to_folder;
use gristmill_text::Tokenizer;
use serde::Deserialize;
use serde_json::json;

use crate::tiny::{self, END, NOTE, START, json, save, with};
use crate::writer::{Gguf, Value};

fn load(file: &Gguf) -> Tokenizer {
    let saved = save(file);
    let out = saved.root.path().join("out");
    gguf_to_folder(&saved.gguf, &out).expect("converted");
    Tokenizer::load(&out).expect("loads")
}

fn with_split(pre: &str) -> Tokenizer {
    let file =
        tiny::byte_level(tiny::metadata(), pre).key("tokenizer.ggml.add_bos_token", Value::Bool(false));
    load(&tiny::tensors(file, 267))
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, true).expect("encodes").ids;
    assert_eq!(tokenizer.decode(&ids, false).expect("decodes"), text);
    ids.into_iter().map(|id| tokenizer.id_to_token(id).expect("a token")).collect()
}

#[test]
fn numbers_are_split_as_the_name_says() {
    let expected: [(&[&str], &[&str]); 3] = [
        (&["gpt-2", "phi-2", "mpt", "olmo"], &["12345", "Ġthe"]),
        (
            &[
                "smollm",
                "starcoder",
                "refact",
                "command-r",
                "codeshell",
                "minerva-7b",
                "qwen2",
                "tekken",
                "deepseek-coder",
            ],
            &["1", "2", "3", "4", "5", "Ġthe"],
        ),
        (
            &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "default"],
            &["12", "3", "4", "5", "Ġthe"],
        ),
    ];
    for (names, expected) in expected {
        for pre in names {
            // A run of three digits ends after 3, where 34 would be a merge.
            assert_eq!(tokens(&with_split(pre), "12345 the"), expected, "{pre}");
        }
    }
}

#[test]
fn a_space_before_digits_stays_apart_only_where_digits_do() {
    assert_eq!(tokens(&with_split("gpt-2"), "the 1"), ["the", "Ġ1"]);
    assert_eq!(tokens(&with_split("smollm"), "the 1"), ["the", "Ġ", "1"]);
    assert_eq!(tokens(&with_split("llama-bpe"), "the 1"), ["the", "Ġ", "1"]);
}

#[test]
fn a_file_without_a_name_has_the_default_split() {
    let mut file = tiny::model();
    file.metadata.retain(|(key, _)| key != "tokenizer.ggml.pre");
    assert_eq!(tokens(&load(&file), "12345 the"), ["12", "3", "4", "5", "Ġthe"]);
}

#[test]
fn special_and_user_defined_tokens_are_found_in_text() {
    let tokenizer = load(&tiny::model());
    let ids = tokenizer.encode("<|start|>the<note><|end|>", true).expect("encodes").ids;
    assert_eq!((ids[0], ids[ids.len() - 2], ids[ids.len() - 1]), (START, NOTE, END));
    assert_eq!(ids.len(), 4);
    assert_eq!(tokenizer.decode(&ids, true).expect("decodes"), "the<note>");
    assert!(tokenizer.is_special(START) && tokenizer.is_special(END) && !tokenizer.is_special(NOTE));
    assert_eq!(tokenizer.vocab_size(), 267);
}

/// What `the` becomes, with 0 for the token itself.
fn around_the(pre: &str, added: &[(&str, bool)]) -> Vec<u32> {
    let mut file = tiny::tensors(tiny::byte_level(tiny::metadata(), pre), 267);
    for (name, add) in added {
        file = file.key(&format!("tokenizer.ggml.add_{name}_token"), Value::Bool(*add));
    }
    let tokenizer = load(&file);
    let the = tokenizer.token_to_id("the").expect("a token");
    assert_eq!(tokenizer.encode("the", false).expect("encodes").ids, [the]);
    let ids = tokenizer.encode("the", true).expect("encodes").ids;
    ids.into_iter().map(|id| if id == the { 0 } else { id }).collect()
}

#[test]
fn bos_and_eos_are_added_as_the_file_says() {
    assert_eq!(around_the("smollm", &[]), [0]);
    assert_eq!(around_the("smollm", &[("bos", true)]), [START, 0]);
    assert_eq!(around_the("smollm", &[("bos", true), ("eos", true)]), [START, 0, END]);
    assert_eq!(around_the("llama-bpe", &[]), [START, 0]);
    assert_eq!(around_the("llama-bpe", &[("bos", false)]), [0]);
}

#[test]
fn the_names_of_special_tokens_are_written() {
    let saved = save(&tiny::model().key("tokenizer.ggml.padding_token_id", Value::U32(END)));
    let out = saved.root.path().join("out");
    gguf_to_folder(&saved.gguf, &out).expect("converted");
    let expected = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": false,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 512,
        "bos_token": "<|start|>",
        "eos_token": "<|end|>",
        "pad_token": "<|end|>",
    });
    assert_eq!(json(&out.join("tokenizer_config.json")), expected);
}

/// What data/sentencepiece/record.py wrote.
#[derive(Deserialize)]
struct Recorded {
    tokens: Vec<String>,
    scores: Vec<f32>,
    token_type: Vec<i32>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../data/sentencepiece/small.json")).expect("recorded texts")
}

fn sentence_piece(recorded: &Recorded) -> Gguf {
    let file = tiny::metadata()
        .key("tokenizer.ggml.model", Value::Str("llama".into()))
        .key("tokenizer.ggml.tokens", Value::Strs(recorded.tokens.clone()))
        .key("tokenizer.ggml.scores", Value::F32s(recorded.scores.clone()))
        .key("tokenizer.ggml.token_type", Value::I32s(recorded.token_type.clone()));
    tiny::tensors(file, recorded.tokens.len() as u64)
}

#[test]
fn sentencepiece_texts_have_the_recorded_ids() {
    let recorded = recorded();
    let tokenizer = load(&sentence_piece(&recorded));
    assert!(recorded.texts.len() > 300);
    for Text { text, ids } in &recorded.texts {
        let encoded = tokenizer.encode(text, true).expect("encodes").ids;
        assert_eq!((encoded[0], &encoded[1..]), (1, &ids[..]), "{text:?}");
        // A written U+2581 is a space to SentencePiece.
        assert_eq!(tokenizer.decode(&encoded, true).expect("decodes"), text.replace('\u{2581}', " "));
    }
}

#[test]
fn merges_are_ordered_as_transformers_orders_them() {
    let tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc", "abc"].map(str::to_owned).to_vec();
    let file = sentence_piece(&Recorded {
        tokens,
        scores: vec![0.0, 0.0, 0.0, -9.0, -8.0, -7.0, -1.0, -1.0, -0.5],
        token_type: vec![2, 3, 3, 1, 1, 1, 1, 1, 1],
        texts: vec![],
    });
    let saved = save(&file);
    let out = saved.root.path().join("out");
    gguf_to_folder(&saved.gguf, &out).expect("converted");
    let expected = json!([["ab", "c"], ["a", "bc"], ["a", "b"], ["b", "c"]]);
    assert_eq!(json(&out.join("tokenizer.json"))["model"]["merges"], expected);
}

#[test]
fn the_space_before_a_text_can_be_left_out() {
    let recorded = recorded();
    let file = with(sentence_piece(&recorded), "tokenizer.ggml.add_space_prefix", Value::Bool(false));
    let tokenizer = load(&with(file, "tokenizer.ggml.add_bos_token", Value::Bool(false)));
    let ids = tokenizer.encode("or", true).expect("encodes").ids;
    assert_eq!(ids, [tokenizer.token_to_id("or").expect("a piece")]);
    assert_eq!(tokenizer.decode(&ids, false).expect("decodes"), "or");
}
