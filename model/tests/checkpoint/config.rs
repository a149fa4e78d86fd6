//! `config.json`: every field, missing, absurd and of the wrong type.

use gristmill_model::checkpoint::config::Config;
use gristmill_model::checkpoint::{Checkpoint, CheckpointError};
use gristmill_model::device::KvSpec;
use gristmill_model::dtype::Dtype;
use gristmill_model::families;
use gristmill_model::plan::{Ledger, kv_per_token};
use gristmill_model::program::{Bucket, Program};
use gristmill_model::rope::{Rope, Scaling};
use gristmill_model::spec::{Activation, ModelSpec, Norm};
use gristmill_model::weights::{Rank, Weights};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::writer::{Folder, assert_refused};

const FILE: &str = "config.json";

fn read(text: &str) -> Result<Config, CheckpointError> {
    let folder = Folder::new();
    folder.write(FILE, text.as_bytes());
    Config::read(&folder.path().join(FILE))
}

fn spec(config: &Value) -> Result<ModelSpec, CheckpointError> {
    families::spec(&read(&config.to_string())?)
}

/// A good configuration with every field of the family.
fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu", "attention_bias": true,
        "mlp_bias": true, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "rope_theta": 10000.0,
        "original_max_position_embeddings": 64, "quantization_config": {"quant_method": "gguf"},
        "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "attention_factor": 1.1, "truncate": true, "rope_theta": 5000.0
        }
    })
}

/// A field that may be inside another, by its path.
fn at<'a>(config: &'a mut Value, field: &str) -> &'a mut Value {
    field.split('.').fold(config, |object, name| &mut object[name])
}

fn with(field: &str, value: Value) -> Value {
    let mut config = llama();
    *at(&mut config, field) = value;
    config
}

fn without(field: &str) -> Value {
    let mut config = llama();
    let (inner, name) = field.rsplit_once('.').unwrap_or(("", field));
    let object = if inner.is_empty() { &mut config } else { at(&mut config, inner) };
    object.as_object_mut().expect("an object").remove(name).expect("the field is there");
    config
}

/// Values that are wrong for a field of a kind.
fn wrong(kind: &str) -> Vec<Value> {
    let anywhere = [json!([]), json!([1]), json!({"a": 1})];
    let kind: &[Value] = match kind {
        "count" => &[json!(0), json!(-1), json!(1e300), json!(u64::MAX), json!(1.5), json!("2"), json!(true)],
        "number" => &[json!(-1), json!(-0.5), json!(1e300), json!(i64::MIN), json!("2"), json!(true)],
        "text" => &[json!(0), json!(-1), json!(1e300), json!(1.5), json!(true), json!("no such"), json!("")],
        "flag" => &[json!(0), json!(-1), json!(1e300), json!(1.5), json!("true")],
        other => panic!("{other}"),
    };
    kind.iter().cloned().chain(anywhere).collect()
}

const COUNTS: [&str; 9] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "original_max_position_embeddings",
];
const NUMBERS: [&str; 8] = [
    "rms_norm_eps",
    "rope_scaling.factor",
    "rope_scaling.beta_fast",
    "rope_scaling.beta_slow",
    "rope_scaling.mscale",
    "rope_scaling.mscale_all_dim",
    "rope_scaling.attention_factor",
    "rope_scaling.rope_theta",
];
const TEXTS: [&str; 5] =
    ["model_type", "hidden_act", "torch_dtype", "rope_scaling.rope_type", "quantization_config.quant_method"];
const FLAGS: [&str; 4] = ["attention_bias", "mlp_bias", "tie_word_embeddings", "rope_scaling.truncate"];
const REQUIRED: [&str; 7] = [
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "rope_scaling.factor",
];

fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = [("count", &COUNTS[..]), ("number", &NUMBERS), ("text", &TEXTS), ("flag", &FLAGS)];
    kinds.into_iter().flat_map(|(kind, fields)| fields.iter().map(move |field| (*field, kind)))
}

#[test]
fn every_field_is_read() {
    let expected = ModelSpec {
        family: "llama".to_owned(),
        vocab: 512,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 96,
        norm: Norm::Rms { eps: 1e-5 },
        activation: Activation::Silu,
        rope: Rope {
            theta: 5000.0,
            dim: 16,
            scaling: Scaling::Yarn {
                factor: 4.0,
                original: 64,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: 1.1,
                truncate: true,
            },
        },
        attention_scale: 0.25,
        attention_bias: true,
        mlp_bias: true,
        tied: true,
        max_positions: 256,
        dtype: Dtype::Bf16,
    };
    assert_eq!(spec(&llama()).expect("a good file"), expected);
}

#[test]
fn wrong_values_name_the_field() {
    for (field, kind) in fields() {
        for value in wrong(kind) {
            let refused = spec(&with(field, value.clone()));
            let shown = if value.is_object() { "" } else { value.as_str().unwrap_or_default() };
            assert_refused(refused, &[FILE, &format!("{field}: "), shown]);
        }
    }
    for field in ["rope_scaling", "quantization_config"] {
        for value in [json!(0), json!(1.5), json!("x"), json!(true), json!([])] {
            assert_refused(spec(&with(field, value)), &[FILE, &format!("{field}: ")]);
        }
    }
    // Zero turns these off, or is no number for them.
    for field in ["factor", "attention_factor", "rope_theta"] {
        let field = format!("rope_scaling.{field}");
        assert_refused(spec(&with(&field, json!(0))), &[FILE, &format!("{field}: ")]);
    }
}

#[test]
fn only_required_fields_must_be_there() {
    for (field, _) in fields() {
        for config in [without(field), with(field, Value::Null)] {
            if REQUIRED.contains(&field) {
                assert_refused(spec(&config), &[FILE, &format!("{field}: is missing")]);
            } else {
                spec(&config).expect(field);
            }
        }
    }
    let least = json!({
        "model_type": "llama", "vocab_size": 5, "hidden_size": 12, "intermediate_size": 7, "num_hidden_layers": 1,
        "num_attention_heads": 3
    });
    let spec = spec(&least).expect("a good file");
    assert_eq!((spec.kv_heads, spec.head_dim, spec.max_positions), (3, 4, 2048));
    assert_eq!(
        (spec.norm, spec.activation, spec.dtype),
        (Norm::Rms { eps: 1e-6 }, Activation::Silu, Dtype::F32)
    );
    assert_eq!(spec.rope, Rope { theta: 10_000.0, dim: 4, scaling: Scaling::None });
    assert!(!spec.attention_bias && !spec.mlp_bias && !spec.tied);
}

/// JSON has no such numbers, but other programs write them.
#[test]
fn numbers_outside_json_name_the_field() {
    for number in ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "01"] {
        let text = format!("{{\"model_type\": \"llama\", \"hidden_size\": {number}}}");
        assert_refused(read(&text), &[FILE, "hidden_size: "]);
        assert_refused(
            read(&format!("{{\"rope_scaling\": {{\"factor\": {number}}}}}")),
            &[FILE, "rope_scaling: "],
        );
    }
    let digits = "9".repeat(100_000);
    assert_refused(read(&format!("{{\"hidden_size\": {digits}}}")), &[FILE, "hidden_size: "]);
}

#[test]
fn what_is_no_object_is_told() {
    let deep = "[".repeat(100_000);
    for text in ["", " ", "[]", "7", "null", "\"x\"", "{", "{\"a\"", "{\"a\": 1,}", "{} {}", &deep] {
        assert_refused(read(text), &[FILE]);
    }
    assert_refused(read(&format!("{{\"a\": {deep}{}}}", "]".repeat(100_000))), &[FILE, "a: recursion limit"]);
    let folder = Folder::new();
    folder.write(FILE, b"{\"a\": \"\xff\"}");
    assert_refused(Config::read(&folder.path().join(FILE)), &[FILE, "UTF-8"]);
    folder.resize(FILE, 1 << 32);
    assert_refused(Config::read(&folder.path().join(FILE)), &[FILE, "4294967296 bytes, at most"]);
    assert_refused(Config::read(folder.path()), &["is not a regular file"]);
    std::fs::remove_file(folder.path().join(FILE)).expect("removing");
    assert_refused(Checkpoint::open(folder.path()), &[FILE, "No such file"]);
}

#[test]
fn long_values_are_cut_in_messages() {
    let long = "x".repeat(1_000_000);
    for field in ["vocab_size", "model_type", "hidden_act", "attention_bias", "rope_scaling"] {
        assert_refused(spec(&with(field, json!(long))), &[FILE, &format!("{field}: ")]);
    }
    assert_refused(
        spec(&with("vocab_size", json!(vec![0; 100_000]))),
        &["[0,0,0", "... is not a whole number"],
    );
    assert_refused(spec(&with("model_type", json!("a\nb"))), &["a\\nb"]);
}

#[test]
fn an_unknown_model_type_is_told_with_the_known_ones() {
    let words = [FILE, "model_type: ", "Unsupported model type bert; supported: llama"];
    assert_refused(spec(&with("model_type", json!("bert"))), &words);
}

#[test]
fn weights_in_another_layout_are_told() {
    let words = [FILE, "quantization_config.quant_method: ", "awq is not served"];
    assert_refused(spec(&with("quantization_config.quant_method", json!("awq"))), &words);
}

#[test]
fn heads_must_fit() {
    let heads = |hidden: usize, heads: usize, kv: usize| {
        let mut config = without("head_dim");
        config["hidden_size"] = json!(hidden);
        config["num_attention_heads"] = json!(heads);
        config["num_key_value_heads"] = json!(kv);
        spec(&config)
    };
    assert_eq!(heads(64, 4, 1).expect("it fits").head_dim, 16);
    for (hidden, count) in [(64, 3), (60, 4), (64, 64), (8192, 4), (1, 4096)] {
        assert_refused(
            heads(hidden, count, count),
            &[FILE, "num_attention_heads: ", &format!("hidden_size {hidden}")],
        );
    }
    assert_refused(heads(64, 4, 3), &[FILE, "num_key_value_heads: ", "num_attention_heads 4"]);
    assert_refused(heads(64, 4, 8), &[FILE, "num_key_value_heads: "]);
    for dim in [1, 7, 1025] {
        assert_refused(spec(&with("head_dim", json!(dim))), &[FILE, "head_dim: "]);
    }
    assert_eq!(spec(&with("head_dim", json!(32))).expect("it need not be hidden / heads").head_dim, 32);
}

#[test]
fn both_spellings_of_rope_mean_the_same() {
    let rope = |fields: Value| {
        let mut config = llama();
        let object = config.as_object_mut().expect("an object");
        object.retain(|field, _| {
            !["rope_scaling", "rope_theta", "original_max_position_embeddings"].contains(&&**field)
        });
        object.extend(fields.as_object().expect("an object").clone());
        spec(&config).map(|spec| spec.rope)
    };
    let read = |fields| rope(fields).expect("a good file");
    let plain = Rope { theta: 7.5, dim: 16, scaling: Scaling::None };
    assert_eq!(read(json!({"rope_theta": 7.5})), plain);
    assert_eq!(read(json!({"rope_theta": 7.5, "rope_scaling": null})), plain);
    assert_eq!(read(json!({"rope_theta": 7.5, "rope_scaling": {}})), plain);
    assert_eq!(read(json!({"rope_parameters": {"rope_theta": 7.5, "rope_type": "default"}})), plain);
    assert_eq!(read(json!({"rope_parameters": {"rope_type": "default"}, "rope_theta": 7.5})), plain);
    assert_eq!(read(json!({"rope_parameters": null, "rope_theta": 7.5})), plain);
    assert_eq!(read(json!({})).theta, 10_000.0);

    let linear = Rope { theta: 7.5, dim: 16, scaling: Scaling::Linear { factor: 2.0 } };
    assert_eq!(read(json!({"rope_theta": 7.5, "rope_scaling": {"type": "linear", "factor": 2}})), linear);
    assert_eq!(
        read(json!({"rope_theta": 7.5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}})),
        linear
    );
    let both =
        json!({"rope_theta": 7.5, "rope_scaling": {"type": "su", "rope_type": "linear", "factor": 2.0}});
    assert_eq!(read(both), linear);
    let new = json!({"rope_parameters": {"rope_theta": 7.5, "rope_type": "linear", "factor": 2.0}});
    assert_eq!(read(new.clone()), linear);
    // transformers takes `rope_scaling` where both are there.
    let mut both = new;
    both["rope_scaling"] = json!({"rope_type": "dynamic", "factor": 3.0});
    assert_eq!(read(both).scaling, Scaling::Dynamic { factor: 3.0, original: 256 });

    let llama3 = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 32});
    let expected = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 32 };
    assert_eq!(read(json!({"rope_scaling": llama3})).scaling, expected);
    assert_eq!(read(json!({"rope_parameters": llama3})).scaling, expected);
    // As transformers: beside the other fields counts less, the positions count where it is nowhere.
    let outside = read(json!({"rope_scaling": llama3, "original_max_position_embeddings": 48})).scaling;
    assert_eq!(outside, Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 48 });
    let nowhere = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4});
    let expected = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 256 };
    assert_eq!(read(json!({"rope_scaling": nowhere})).scaling, expected);

    for field in ["factor", "low_freq_factor", "high_freq_factor"] {
        let mut config = llama3.clone();
        config.as_object_mut().expect("an object").remove(field);
        assert_refused(
            rope(json!({"rope_scaling": config})),
            &[FILE, &format!("rope_scaling.{field}: is missing")],
        );
    }
    let mut config = llama3.clone();
    config["high_freq_factor"] = json!(1);
    assert_refused(rope(json!({"rope_scaling": config})), &[FILE, "rope_scaling.high_freq_factor: "]);
    for kind in ["longrope", "su", "mrope", ""] {
        let words = [FILE, "rope_parameters.rope_type: ", &format!("unknown rope scaling {kind}")];
        assert_refused(rope(json!({"rope_parameters": {"rope_type": kind, "factor": 2}})), &words);
    }
}

#[test]
fn number_formats_have_two_fields() {
    let dtype = |fields: &[(&str, &str)]| {
        let mut config = without("torch_dtype");
        fields.iter().for_each(|(field, name)| config[*field] = json!(name));
        spec(&config).map(|spec| spec.dtype)
    };
    assert_eq!(dtype(&[]).expect("the default"), Dtype::F32);
    assert_eq!(dtype(&[("torch_dtype", "float16")]).expect("old"), Dtype::F16);
    assert_eq!(dtype(&[("dtype", "bfloat16")]).expect("new"), Dtype::Bf16);
    assert_eq!(dtype(&[("dtype", "torch.bfloat16"), ("torch_dtype", "float16")]).expect("both"), Dtype::Bf16);
    assert_refused(dtype(&[("dtype", "int8")]), &[FILE, "dtype: ", "int8"]);
}

#[test]
fn token_ids_are_one_or_a_list() {
    let ids = |value: Value| {
        read(&json!({"eos_token_id": value}).to_string()).expect("an object").ids("eos_token_id")
    };
    assert_eq!(ids(json!(7)).expect("one"), [7]);
    assert_eq!(ids(json!([7, 9])).expect("two"), [7, 9]);
    assert_eq!(ids(json!(null)).expect("none"), Vec::<u32>::new());
    for value in [json!(-1), json!(1u64 << 32), json!("7"), json!([7, "x"]), json!([[7]]), json!(1.0)] {
        assert_refused(ids(value), &[FILE, "eos_token_id: ", "is not a token id"]);
    }
    assert_refused(ids(json!(vec![0; 1_000_000])), &[FILE, "eos_token_id: ", "1000000 token ids"]);
}

/// A configuration at the bounds, or one of these numbers.
fn absurd() -> impl Strategy<Value = Value> {
    let one = |most: usize| prop_oneof![Just(1), Just(most), 1..=most];
    let heads = (0..=12u32, 0..=12u32).prop_map(|(a, b)| (1usize << a.max(b), 1usize << a.min(b)));
    let dims = prop_oneof![Just(2usize), Just(1024), (1..=512usize).prop_map(|half| 2 * half)];
    (one(4_194_304), one(1_048_576), one(1_048_576), prop_oneof![Just(1024usize), 1..9usize], heads, dims)
        .prop_map(|(vocab, hidden, inner, layers, (heads, kv), dim)| {
            let mut config = llama();
            let numbers = [vocab, hidden, inner, layers, heads, kv, dim];
            for (field, number) in COUNTS.iter().zip(numbers) {
                config[*field] = json!(number);
            }
            config["tie_word_embeddings"] = json!(false);
            config
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing overflows, and the ledger is a naive sum.
    #[test]
    fn absurd_models_are_priced(config in absurd(), shift in 0..6u32) {
        let spec = spec(&config).expect("within bounds");
        let world = 1usize << shift;
        let rank = Rank { index: world - 1, world };
        let Ok(weights) = Weights::new(&spec, rank) else {
            prop_assert!(!spec.heads.is_multiple_of(world) || spec.intermediate < world);
            return Ok(());
        };
        let bucket = Bucket { tokens: 4096, outputs: 256 };
        let program = Program::decoder(&spec, &weights, bucket, Dtype::F32);
        let ledger = Ledger::new(&spec, &weights, rank, Dtype::Bf16, Dtype::F16, &program);

        let [vocab, hidden, inner] = [spec.vocab, spec.hidden, spec.intermediate].map(|n| n as u128);
        let w = world as u128;
        let (q, kv) = (spec.heads as u128 / w, (spec.kv_heads as u128 / w).max(1));
        let dim = spec.head_dim as u128;
        let held = inner - inner * (w - 1) / w;
        let first = u128::from(world == 1);
        let matrices = hidden * (q + 2 * kv) * dim + hidden * q * dim + 3 * hidden * held;
        let vectors = 2 * hidden + (q + 2 * kv) * dim + first * hidden + 2 * held + first * hidden;
        let layers = spec.layers as u128;
        let weights_bytes = 2 * (2 * vocab * hidden + layers * matrices) + 4 * (hidden + layers * vectors);
        prop_assert_eq!(u128::from(ledger.weights), weights_bytes);
        prop_assert_eq!(u128::from(ledger.kv_per_token), 2 * layers * kv * dim * 2);
        prop_assert_eq!(ledger.kv_per_token, kv_per_token(&spec, rank, Dtype::F16));
        prop_assert_eq!(ledger.workspace, program.workspace as u64);

        let bytes = ledger.kv_per_token * 16 * 5 + 1;
        prop_assert_eq!(ledger.blocks(bytes), 5);
        prop_assert_eq!(ledger.blocks(ledger.kv_per_token * 16 - 1), 0);
        prop_assert_eq!(ledger.kv(KvSpec { blocks: 5, dtype: Dtype::F16 }), bytes - 1);
    }
}
