//! Files that cannot be served: the program ends with exit code 1 and one line that names the file and what is wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use gristmill_integration_tests::demo;
use gristmill_integration_tests::program::program;
use serde_json::{Value, json};

const SINGLE: &str = "tiny/llama-plain";
const SHARDED: &str = "tiny/llama-f16-sharded";

/// A copy of a tiny model, spoiled.
fn spoiled(model: &str, spoil: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(demo::data(model)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    spoil(folder.path());
    folder
}

/// Starts a shard on a model; its exit code and what it wrote to standard error.
fn end_of_shard(model: &Path) -> (Option<i32>, String) {
    let socket = tempfile::tempdir().unwrap();
    let ended = Command::new(program())
        .args([
            "shard".as_ref(),
            model.as_os_str(),
            "--uds-path".as_ref(),
            socket.path().join("s").as_os_str(),
        ])
        .envs([("RANK", "0"), ("WORLD_SIZE", "1"), ("ATTENTION", "flashdecoding"), ("PREFIX_CACHING", "0")])
        .output()
        .unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[track_caller]
fn refused(model: &Path, named: &[&str]) {
    let (code, error) = end_of_shard(model);
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    for word in named {
        assert!(error.contains(word), "{word} is not named: {error}");
    }
}

fn edit_config(folder: &Path, field: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn configurations_with_impossible_fields() {
    for (field, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(u64::MAX)),
        ("num_hidden_layers", json!(0)),
        ("num_attention_heads", json!(-3)),
        ("num_key_value_heads", json!(2)),
        ("vocab_size", json!("many")),
        ("intermediate_size", json!(1e300)),
        ("rms_norm_eps", json!(-1.0)),
        ("hidden_act", json!("magic")),
        ("rope_scaling", json!({"type": "magic", "factor": 2.0})),
        ("torch_dtype", json!("int4")),
        ("model_type", json!("mystery")),
        ("model_type", json!(null)),
    ] {
        refused(
            spoiled(SINGLE, |folder| edit_config(folder, field, value)).path(),
            &["config.json", field.split('.').next().unwrap()],
        );
    }
    refused(
        spoiled(SINGLE, |folder| fs::write(folder.join("config.json"), "{").unwrap()).path(),
        &["config.json"],
    );
    refused(
        spoiled(SINGLE, |folder| fs::remove_file(folder.join("config.json")).unwrap()).path(),
        &["config.json"],
    );
}

#[test]
fn shapes_that_the_weights_do_not_have() {
    let folder = spoiled(SINGLE, |folder| edit_config(folder, "intermediate_size", json!(128)));
    refused(folder.path(), &["model.safetensors", "gate_proj", "config.json"]);
    let folder = spoiled(SINGLE, |folder| edit_config(folder, "num_hidden_layers", json!(9)));
    refused(folder.path(), &["model.layers.2.", "does not exist"]);
    let folder = spoiled(SINGLE, |folder| edit_config(folder, "num_hidden_layers", json!(1000)));
    refused(folder.path(), &["model.layers.2.", "does not exist"]);
}

#[test]
fn safetensors_that_are_cut_or_lie() {
    let weights = |folder: &Path| folder.join("model.safetensors");
    let whole = fs::read(demo::data(SINGLE).join("model.safetensors")).unwrap();
    for length in [0, 5, 8, 100, whole.len() / 2, whole.len() - 1] {
        let folder = spoiled(SINGLE, |folder| fs::write(weights(folder), &whole[..length]).unwrap());
        refused(folder.path(), &["model.safetensors"]);
    }
    let lies: [(&str, &str); 3] = [("\"F32\"", "\"F64\""), ("data_offsets", "data_offsetz"), ("[0,", "[4,")];
    for (from, to) in lies {
        let text = replaced(&whole, from, to);
        refused(
            spoiled(SINGLE, |folder| fs::write(weights(folder), &text).unwrap()).path(),
            &["model.safetensors"],
        );
    }
    let folder = spoiled(SINGLE, |folder| fs::remove_file(weights(folder)).unwrap());
    refused(folder.path(), &["model.safetensors"]);
}

/// Replaces the first occurrence by a text of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn an_index_that_names_a_missing_file() {
    let first = "model-00002-of-00003.safetensors";
    let folder = spoiled(SHARDED, |folder| fs::remove_file(folder.join(first)).unwrap());
    refused(folder.path(), &["model.safetensors.index.json", first, "does not exist"]);
    let folder = spoiled(SHARDED, |folder| {
        fs::write(folder.join("model.safetensors.index.json"), r#"{"weight_map":{"a":"../escape"}}"#)
            .unwrap();
    });
    refused(folder.path(), &["model.safetensors.index.json", "../escape"]);
}

#[test]
fn a_tokenizer_that_is_none() {
    for text in [
        "",
        "{",
        "{}",
        "[1]",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"added_tokens\":[{\"id\":-1}]}",
    ] {
        let folder = spoiled(SINGLE, |folder| fs::write(folder.join("tokenizer.json"), text).unwrap());
        refused(folder.path(), &["tokenizer.json"]);
    }
    let folder = spoiled(SINGLE, |folder| {
        fs::write(folder.join("generation_config.json"), r#"{"eos_token_id": "two"}"#).unwrap();
    });
    refused(folder.path(), &["generation_config.json", "eos_token_id"]);
}

#[test]
fn gguf_files_that_are_cut_or_lie() {
    let gguf = demo::gguf();
    let mut head = fs::read(&gguf).unwrap();
    head.truncate(3 << 20);
    let folder = tempfile::tempdir().unwrap();
    let spoiled = folder.path().join("model.gguf");
    for length in [0, 3, 12, 24, 1000, head.len()] {
        fs::write(&spoiled, &head[..length]).unwrap();
        refused(&spoiled, &["model.gguf"]);
    }
    let lies: [(&str, &str); 3] = [
        ("general.architecture", "general.architecturf"),
        ("GGUF", "GGUG"),
        ("llama.block_count", "llama.block_counz"),
    ];
    for (from, to) in lies {
        fs::write(&spoiled, replaced(&head, from, to)).unwrap();
        refused(&spoiled, &["model.gguf"]);
    }
}

#[test]
fn the_launcher_says_what_the_shard_said_and_ends_with_one() {
    let folder = spoiled(SINGLE, |folder| edit_config(folder, "hidden_size", json!(0)));
    let socket = tempfile::tempdir().unwrap();
    let prefix = socket.path().join("s");
    let ended = Command::new(program())
        .args(["serve", "--hostname", "127.0.0.1", "--port", "0", "--model-id"])
        .args([folder.path().as_os_str(), "--shard-uds-path".as_ref(), prefix.as_os_str()])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let log = String::from_utf8(ended.stdout).unwrap();
    assert!(log.contains("config.json: hidden_size: 0 is not a whole number"), "{log}");
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "Error: ShardCannotStart\n");
}
