//! Configuration and weights of a converted file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gristmill_launcher::download::gguf_to_folder;
use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::checkpoint::blocks::BlockFormat;
use serde_json::{Value as Json, json};

use crate::tiny::{self, F16, F32, HEAD_DIM, HEADS, HIDDEN, Q4_0, Saved, json, save, with};
use crate::writer::{Gguf, Value};

fn convert(file: &Gguf) -> (Saved, PathBuf) {
    let saved = save(file);
    let out = saved.root.path().join("out");
    gguf_to_folder(&saved.gguf, &out).expect("converted");
    (saved, out)
}

fn config(file: &Gguf) -> Json {
    json(&convert(file).1.join("config.json"))
}

/// The safetensors header, and the data behind it.
fn safetensors(folder: &Path) -> (Json, Vec<u8>) {
    let bytes = fs::read(folder.join("model.safetensors")).expect("weights");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    (header, bytes[8 + length..].to_vec())
}

fn data<'a>((header, data): &'a (Json, Vec<u8>), name: &str) -> &'a [u8] {
    let offset = |i: usize| header[name]["data_offsets"][i].as_u64().expect("an offset") as usize;
    &data[offset(0)..offset(1)]
}

#[test]
fn the_configuration_is_the_metadata() {
    let config = config(&tiny::model().key("tokenizer.ggml.padding_token_id", Value::U32(0)));
    let expected = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 267,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": true,
        "bos_token_id": 264,
        "eos_token_id": 265,
        "pad_token_id": 0,
        "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "gguf"},
    });
    assert_eq!(config, expected);
}

#[test]
fn blocks_are_kept_and_named() {
    let file = tiny::model();
    let (_saved, out) = convert(&file);
    let safetensors = safetensors(&out);
    let header = &safetensors.0;
    assert_eq!(header.as_object().expect("entries").len(), 1 + file.tensors.len());
    assert_eq!(header["__metadata__"]["gguf.model.embed_tokens.weight"], "Q8_0");
    assert_eq!(header["__metadata__"]["gguf.model.layers.0.mlp.down_proj.weight"], "Q4_0");
    assert_eq!(header["__metadata__"].as_object().expect("names").len(), 8);
    let down = &header["model.layers.0.mlp.down_proj.weight"];
    assert_eq!((&down["dtype"], &down["shape"]), (&json!("U8"), &json!([32, 36])));
    let norm = &header["model.norm.weight"];
    assert_eq!((&norm["dtype"], &norm["shape"]), (&json!("F32"), &json!([32])));
    for (source, name) in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight"),
        ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight"),
        ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"),
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight"),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
        ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
    ] {
        let tensor = file.tensors.iter().find(|tensor| tensor.name == source).expect("a tensor");
        assert!(data(&safetensors, name) == tensor.data, "{name}");
    }
}

#[test]
fn rows_of_queries_and_keys_go_back_to_halves() {
    let file = tiny::model();
    let (_saved, out) = convert(&file);
    let safetensors = safetensors(&out);
    for (source, name, heads) in [("attn_q", "q_proj", HEADS), ("attn_k", "k_proj", 1)] {
        let tensor = file.tensors.iter().find(|tensor| tensor.name.contains(source)).expect("a tensor");
        let rows: Vec<&[u8]> = tensor.data.chunks(18).collect();
        // As transformers undoes it: [heads, half, 2] becomes [heads, 2, half].
        let half = HEAD_DIM / 2;
        let order = (0..heads).flat_map(|head| {
            (0..2).flat_map(move |side| (0..half).map(move |pair| head * HEAD_DIM + 2 * pair + side))
        });
        let expected: Vec<u8> = order.flat_map(|row| rows[row as usize].to_vec()).collect();
        assert!(data(&safetensors, &format!("model.layers.0.self_attn.{name}.weight")) == expected, "{name}");
    }
}

#[test]
fn the_checkpoint_reader_reads_what_was_written() {
    let file = tiny::model();
    let (_saved, out) = convert(&file);
    let checkpoint = Checkpoint::open(&out).expect("a checkpoint");
    let mut read = vec![0f32; 64 * 32];
    checkpoint.read_rows("model.layers.0.mlp.down_proj.weight", 0..32, 0..64, &mut read).expect("rows");
    let tensor = file.tensors.iter().find(|tensor| tensor.name.contains("ffn_down")).expect("a tensor");
    let mut expected = vec![0f32; 64 * 32];
    BlockFormat::Q4_0.dequantize_row(&tensor.data, &mut expected);
    assert_eq!(read, expected);
}

#[test]
fn the_same_file_becomes_the_same_bytes_with_open_modes() {
    let saved = save(&tiny::model().key("tokenizer.chat_template", Value::Str("{{ messages }}".into())));
    let folders = ["first", "second"].map(|name| saved.root.path().join(name));
    for folder in &folders {
        gguf_to_folder(&saved.gguf, folder).expect("converted");
    }
    let names = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(fs::read_dir(&folders[0]).expect("a folder").count(), names.len());
    for name in names {
        let [first, second] =
            [&folders[0], &folders[1]].map(|folder| fs::read(folder.join(name)).expect("a file"));
        assert!(first == second, "{name}");
        let mode = fs::metadata(folders[0].join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    assert_eq!(fs::read(folders[0].join("chat_template.jinja")).expect("a template"), b"{{ messages }}");
    assert_eq!(fs::read_dir(saved.root.path()).expect("a folder").count(), 3, "nothing else is left");
}

#[test]
fn a_head_of_its_own_is_not_tied_and_plain_weights_stay_plain() {
    let mut file = tiny::model().tensor("output.weight", &[HIDDEN, 267], F16, vec![0; 32 * 267 * 2]);
    assert_eq!(config(&file)["tie_word_embeddings"], false);
    for tensor in &mut file.tensors {
        if tensor.dimensions.len() == 2 {
            let values = tensor.dimensions.iter().product::<u64>() as usize;
            (tensor.ggml_type, tensor.data) = (F16, vec![0; 2 * values]);
        }
    }
    let (_saved, out) = convert(&file);
    let config = json(&out.join("config.json"));
    assert_eq!(config["torch_dtype"], "float16");
    assert_eq!(config.get("quantization_config"), None);
    let (header, _) = safetensors(&out);
    assert_eq!(header["lm_head.weight"]["dtype"], "F16");
    assert_eq!(header["lm_head.weight"]["shape"], json!([267, 32]));
}

#[test]
fn heads_may_be_wider_than_the_model() {
    let mut file = with(tiny::model(), "llama.attention.key_length", Value::U32(32));
    for (name, cols, rows) in
        [("attn_q", HIDDEN, 64), ("attn_k", HIDDEN, 32), ("attn_v", HIDDEN, 32), ("attn_output", 64, HIDDEN)]
    {
        let tensor = file.tensors.iter_mut().find(|tensor| tensor.name.contains(name)).expect("a tensor");
        (tensor.dimensions, tensor.data) = (vec![cols, rows], tiny::blocks(Q4_0, cols, rows));
    }
    assert_eq!(config(&file)["head_dim"], 32);
}

#[test]
fn every_end_of_turn_ends_a_text() {
    let generation = |file: &Gguf| json(&convert(file).1.join("generation_config.json"));
    assert_eq!(generation(&tiny::model()), json!({"bos_token_id": 264, "eos_token_id": 265}));
    let file = tiny::model()
        .key("tokenizer.ggml.eot_token_id", Value::U32(tiny::START))
        .key("tokenizer.ggml.eom_token_id", Value::U32(tiny::END));
    assert_eq!(generation(&file)["eos_token_id"], json!([265, 264]));
}

#[test]
fn rope_scaling_keys_are_translated() {
    let scaling = |keys: &[(&str, Value)]| {
        let add =
            |file: Gguf, (key, value): &(&str, Value)| file.key(&format!("llama.rope.{key}"), value.clone());
        config(&keys.iter().fold(tiny::model(), add))["rope_scaling"].clone()
    };
    let kind = |name: &str| ("scaling.type", Value::Str(name.into()));
    let factor = ("scaling.factor", Value::F32(2.5));
    assert_eq!(scaling(&[]), Json::Null);
    assert_eq!(scaling(&[kind("none"), factor.clone()]), Json::Null);
    assert_eq!(scaling(&[kind("linear"), factor.clone()]), json!({"rope_type": "linear", "factor": 2.5}));
    assert_eq!(scaling(&[("scale_linear", Value::F32(4.0))]), json!({"rope_type": "linear", "factor": 4.0}));
    let original = ("scaling.original_context_length", Value::U32(128));
    let slow = ("scaling.yarn_beta_slow", Value::F32(0.1));
    assert_eq!(
        scaling(&[kind("yarn"), factor, original, slow]),
        json!({"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 128, "beta_slow": 0.1})
    );
}

/// The factors that the GGUF writer computes in f32 for Llama 3.
fn llama3_factors(factor: f32) -> Vec<u8> {
    let factors = (0..HEAD_DIM / 2).map(|pair| {
        let frequency = 1.0 / 500_000f32.powf(2.0 * pair as f32 / HEAD_DIM as f32);
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength < 8192.0 / 4.0 {
            1.0
        } else if wavelength > 8192.0 {
            factor
        } else {
            let smooth = (8192.0 / wavelength - 1.0) / 3.0;
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    factors.flat_map(f32::to_le_bytes).collect()
}

#[test]
fn llama3_scaling_is_found_in_its_factors() {
    for factor in [8.0, 32.0] {
        let file = tiny::model().tensor("rope_freqs.weight", &[HEAD_DIM / 2], F32, llama3_factors(factor));
        let expected = json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        assert_eq!(config(&file)["rope_scaling"], expected);
    }
    let ones = 1f32.to_le_bytes().repeat(8);
    let file = tiny::model().tensor("rope_freqs.weight", &[HEAD_DIM / 2], F32, ones);
    assert_eq!(config(&file).get("rope_scaling"), None);
}
