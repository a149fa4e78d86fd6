//! Rope frequencies against those of transformers 5.19, recorded by integration-tests/record/rope.py.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use gristmill_model::checkpoint::config::Config;
use gristmill_model::families;
use gristmill_model::rope::Rope;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Recorded {
    head_dim: usize,
    max_position_embeddings: usize,
    rope_parameters: Value,
    length: usize,
    attention_factor: f32,
    inv_freq: Vec<f32>,
}

fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("data/rope.json")).expect("recorded frequencies")
}

/// The rope of a model with these fields in its configuration.
fn rope(recorded: &Recorded, fields: &[(&str, Value)]) -> Rope {
    let mut config = json!({
        "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "head_dim": recorded.head_dim,
        "max_position_embeddings": recorded.max_position_embeddings
    });
    fields.iter().for_each(|(field, value)| config[*field] = value.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).expect("writing");
    families::spec(&Config::read(&path).expect("a good file")).expect("a good file").rope
}

fn assert_recorded(rope: &Rope, recorded: &Recorded) {
    let Recorded { rope_parameters, length, inv_freq, attention_factor, .. } = recorded;
    let context = format!("{rope_parameters} at {length}");
    let ours = rope.inv_freq(*length);
    assert_eq!(ours.len(), inv_freq.len(), "{context}");
    for (pair, (ours, theirs)) in ours.iter().zip(inv_freq).enumerate() {
        assert!((ours - theirs).abs() <= 1e-6 * theirs, "{context}, pair {pair}: {ours}, recorded {theirs}");
    }
    let factor = rope.attention_factor();
    assert!((factor - attention_factor).abs() <= 1e-6 * attention_factor, "{context}: factor {factor}");
}

#[test]
fn frequencies_are_the_recorded_ones() {
    let kinds = recorded().iter().map(|r| r.rope_parameters["rope_type"].clone()).collect::<Vec<_>>();
    for kind in ["default", "linear", "dynamic", "llama3", "yarn"] {
        assert!(kinds.contains(&json!(kind)), "{kind} was not recorded");
    }
    for recorded in recorded() {
        let new = [("rope_parameters", recorded.rope_parameters.clone())];
        assert_recorded(&rope(&recorded, &new), &recorded);
    }
}

#[test]
fn the_old_spelling_gives_the_same() {
    for recorded in recorded() {
        let mut scaling = recorded.rope_parameters.clone();
        let theta = scaling.as_object_mut().expect("an object").remove("rope_theta").expect("a base");
        assert_recorded(&rope(&recorded, &[("rope_theta", theta), ("rope_scaling", scaling)]), &recorded);
    }
}

#[test]
fn only_dynamic_grows() {
    for recorded in recorded() {
        let rope = rope(&recorded, &[("rope_parameters", recorded.rope_parameters.clone())]);
        let positions = recorded.max_position_embeddings;
        let dynamic = recorded.rope_parameters["rope_type"] == "dynamic";
        assert_eq!(rope.grows_beyond(), dynamic.then_some(positions));
        assert_eq!(rope.inv_freq(1), rope.inv_freq(positions));
        assert_eq!(rope.inv_freq(1) != rope.inv_freq(positions + 1), dynamic);
    }
}
