//! GGUF headers: right ones are read in full, wrong ones end in an error that names the file and the place.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod writer;

use std::fs;
use std::path::Path;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::blocks::BlockFormat;
use gristmill_model::checkpoint::gguf::{Encoding, Header, Strings};
use gristmill_model::dtype::Dtype;
use proptest::prelude::*;
use writer::{Gguf, Value};

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q2_K: u32 = 10;
const BF16: u32 = 30;

fn read(bytes: &[u8]) -> Result<Header, CheckpointError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.gguf");
    fs::write(&path, bytes).expect("written");
    let result = Header::read(&path);
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.starts_with(path.to_str().expect("UTF-8")), "{text}");
        assert!(!text.contains('\n'), "{text}");
        assert!(text.len() < 400, "{text}");
    }
    result
}

fn problem(bytes: &[u8]) -> String {
    read(bytes).expect_err("a wrong file").problem
}

fn strings(texts: &[&str]) -> Value {
    Value::Strs(texts.iter().map(|&text| text.to_owned()).collect())
}

/// Every kind of value and three tensors.
fn sample() -> Gguf {
    Gguf::new()
        .key("general.architecture", Value::Str("llama".into()))
        .key("llama.block_count", Value::U32(30))
        .key("llama.rope.freq_base", Value::F32(1e5))
        .key("tokenizer.ggml.add_bos_token", Value::Bool(true))
        .key("tokenizer.ggml.tokens", strings(&["a", "", "Ġthé"]))
        .key("tokenizer.ggml.scores", Value::F32s(vec![0.0, -1.5, 3.0]))
        .key("tokenizer.ggml.token_type", Value::I32s(vec![1, -3, 6]))
        .key("i8", Value::Raw(1, vec![0xFE]))
        .key("u16", Value::Raw(2, vec![1, 2]))
        .key("i16", Value::Raw(3, vec![0xFF, 0xFF]))
        .key("u64", Value::Raw(10, u64::MAX.to_le_bytes().to_vec()))
        .key("i64", Value::Raw(11, i64::MIN.to_le_bytes().to_vec()))
        .key("f64", Value::Raw(12, 0.5f64.to_le_bytes().to_vec()))
        .tensor("norm", &[8], F32, vec![1; 32])
        .tensor("matrix", &[64, 3], Q4_0, vec![2; 108])
        .tensor("half", &[2, 2, 2], BF16, vec![3; 16])
}

#[test]
fn metadata_is_read_with_its_types() {
    let header = read(&sample().bytes()).expect("a right file");
    assert_eq!(header.require::<&str>("general.architecture").expect("string"), "llama");
    assert_eq!(header.require::<u64>("llama.block_count").expect("number"), 30);
    assert_eq!(header.require::<f32>("llama.rope.freq_base").expect("float"), 1e5);
    assert!(header.require::<bool>("tokenizer.ggml.add_bos_token").expect("bool"));
    let tokens: &Strings = header.require("tokenizer.ggml.tokens").expect("strings");
    assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "Ġthé"]);
    assert_eq!((tokens.get(2), tokens.get(3), tokens.len()), (Some("Ġthé"), None, 3));
    assert_eq!(header.require::<Vec<f32>>("tokenizer.ggml.scores").expect("floats"), [0.0, -1.5, 3.0]);
    assert_eq!(header.require::<Vec<i64>>("tokenizer.ggml.token_type").expect("integers"), [1, -3, 6]);
    assert_eq!(header.require::<i64>("i8").expect("i8"), -2);
    assert_eq!(header.require::<u64>("u16").expect("u16"), 513);
    assert_eq!(header.require::<i64>("i16").expect("i16"), -1);
    assert_eq!(header.require::<u64>("u64").expect("u64"), u64::MAX);
    assert_eq!(header.require::<i64>("i64").expect("i64"), i64::MIN);
    assert_eq!(header.require::<f32>("f64").expect("f64"), 0.5);
    assert_eq!(header.find::<u64>("absent").expect("no error"), None);
}

#[test]
fn tensors_are_located() {
    for version in [2, 3] {
        let file = Gguf { version, ..sample() };
        let header = read(&file.bytes()).expect("a right file");
        let start = (file.header().len() as u64).next_multiple_of(32);
        assert_eq!(header.data_offset(), start);
        let tensor = |name: &str| {
            let tensor = &header.tensors()[name];
            (tensor.dimensions.clone(), tensor.encoding, tensor.offset, tensor.bytes)
        };
        assert_eq!(tensor("norm"), (vec![8], Encoding::Plain(Dtype::F32), start, 32));
        assert_eq!(tensor("matrix"), (vec![64, 3], Encoding::Blocks(BlockFormat::Q4_0), start + 32, 108));
        assert_eq!(tensor("half"), (vec![2, 2, 2], Encoding::Plain(Dtype::Bf16), start + 160, 16));
    }
}

#[test]
fn a_key_of_another_type_or_none_is_named() {
    let header = read(&sample().bytes()).expect("a right file");
    let text = |error: CheckpointError| error.problem;
    assert_eq!(
        text(header.require::<u64>("general.architecture").expect_err("a string")),
        "key \"general.architecture\": is a string, not an unsigned integer"
    );
    assert_eq!(
        text(header.require::<u64>("i8").expect_err("-2")),
        "key \"i8\": is a signed integer, not an unsigned integer"
    );
    assert_eq!(text(header.require::<&str>("nothing").expect_err("absent")), "key \"nothing\": is missing");
    let scores = header.require::<Vec<i64>>("tokenizer.ggml.scores").expect_err("floats");
    assert_eq!(
        text(scores),
        "key \"tokenizer.ggml.scores\": is an array of numbers, not an array of integers"
    );
}

#[test]
fn alignment_is_the_files_own() {
    let file = Gguf { alignment: 64, ..sample() }.key("general.alignment", Value::U32(64));
    let header = read(&file.bytes()).expect("a right file");
    assert_eq!(header.data_offset(), (file.header().len() as u64).next_multiple_of(64));
    for wrong in [0, 3, 48, 1 << 17] {
        let text = problem(&sample().key("general.alignment", Value::U32(wrong)).bytes());
        assert_eq!(text, "key \"general.alignment\": must be a power of two of at most 65536");
    }
}

#[test]
fn other_files_and_versions_are_told() {
    assert!(problem(b"").starts_with("not a GGUF file"));
    assert!(problem(b"PK\x03\x04 something else").starts_with("not a GGUF file"));
    assert_eq!(
        problem(&Gguf { version: 1, ..sample() }.bytes()),
        "GGUF version 1 is not served, only 2 and 3"
    );
    assert_eq!(
        problem(&Gguf { version: 4, ..sample() }.bytes()),
        "GGUF version 4 is not served, only 2 and 3"
    );
    assert_eq!(problem(&Gguf { version: 3 << 24, ..sample() }.bytes()), "big-endian GGUF is not served");
    let missing = Header::read(Path::new("no/such/file.gguf")).expect_err("no file").to_string();
    assert!(missing.starts_with("no/such/file.gguf: "), "{missing}");
}

#[test]
fn lying_counts_and_lengths_take_no_memory() {
    let huge = u64::MAX.to_le_bytes();
    let array = |kind: u32, len: u64| Value::Raw(9, [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat());
    let cases = [
        (
            Gguf { tensor_count: Some(u64::MAX), ..sample() },
            "tensor count: 18446744073709551615 is over the limit of 65536",
        ),
        (
            Gguf { key_count: Some(u64::MAX), ..sample() },
            "key count: 18446744073709551615 is over the limit of 4096",
        ),
        (
            Gguf { tensor_count: Some(65_536), ..sample() },
            "tensor count: 65536 entries: 2097152 bytes at byte 24 go past",
        ),
        (
            Gguf { key_count: Some(4096), ..sample() },
            "key count: 4096 entries: 53248 bytes at byte 24 go past",
        ),
        (
            sample().key("text", Value::Raw(8, huge.to_vec())),
            "key \"text\": a string of 18446744073709551615 bytes is over",
        ),
        (
            sample().key("text", Value::Raw(8, 4_000_000u64.to_le_bytes().to_vec())),
            "key \"text\": 4000000 bytes at byte",
        ),
        (
            sample().key("list", array(8, u64::MAX)),
            "key \"list\": array: 18446744073709551615 is over the limit of 4194304",
        ),
        (
            sample().key("list", array(8, 4 << 20)),
            "key \"list\": array: 4194304 entries: 33554432 bytes at byte",
        ),
        (
            sample().key("list", array(10, 4 << 20)),
            "key \"list\": array: 4194304 entries: 33554432 bytes at byte",
        ),
    ];
    for (file, expected) in cases {
        let text = problem(&file.bytes());
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn wrong_values_are_named() {
    let nested =
        [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &4u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
    let bools = [&7u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[1, 2]].concat();
    let bad_text = [&2u64.to_le_bytes()[..], &[0xC3, 0x28]].concat();
    let bad_entry =
        [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &1u64.to_le_bytes(), b"a", &bad_text].concat();
    let cases = [
        (Value::Raw(9, nested), "key \"k\": an array of arrays is not served"),
        (Value::Raw(7, vec![2]), "key \"k\": a bool of value 2"),
        (Value::Raw(9, bools), "key \"k\": a bool of value 2"),
        (Value::Raw(13, vec![]), "key \"k\": unknown value type 13"),
        (Value::Raw(9, vec![0xFF; 12]), "key \"k\": unknown value type 4294967295"),
        (Value::Raw(8, bad_text), "key \"k\": not UTF-8: "),
        (Value::Raw(9, bad_entry), "key \"k\": entry 1: not UTF-8: "),
    ];
    for (value, expected) in cases {
        let text = problem(&sample().key("k", value).bytes());
        assert!(text.starts_with(expected), "{text}");
    }
    let long = sample().key(&"k".repeat(1025), Value::U32(0));
    assert_eq!(problem(&long.bytes()), "name of key 13: a string of 1025 bytes is over the limit of 1024");
    let twice = sample().key("u16", Value::U32(0));
    assert_eq!(problem(&twice.bytes()), "key \"u16\": appears twice");
}

#[test]
fn wrong_tensors_are_named() {
    let with = |dimensions: &[u64], number: u32, bytes: usize| {
        problem(&sample().tensor("t", dimensions, number, vec![0; bytes]).bytes())
    };
    assert_eq!(with(&[], F32, 4), "tensor \"t\": 0 dimensions, must be 1 to 4");
    assert_eq!(with(&[1; 5], F32, 4), "tensor \"t\": 5 dimensions, must be 1 to 4");
    assert_eq!(with(&[8, 0], F32, 0), "tensor \"t\": a dimension of [8, 0] is zero");
    assert_eq!(with(&[48, 2], Q4_0, 54), "tensor \"t\": rows of 48 values are not whole blocks of 32");
    assert_eq!(
        with(&[1 << 40, 1 << 40], F16, 0),
        "tensor \"t\": dimensions [1099511627776, 1099511627776] are too large"
    );
    assert_eq!(with(&[1 << 63], F32, 0), "tensor \"t\": dimensions [9223372036854775808] are too large");
    assert_eq!(with(&[256], Q2_K, 84), "tensor \"t\": type Q2_K is not served");
    assert_eq!(with(&[256], 99, 84), "tensor \"t\": unknown type 99");
    assert!(
        with(&[64], F32, 100)
            .starts_with("tensor \"t\": 256 bytes at offset 192 go past the end of the file at")
    );
    assert_eq!(
        problem(&sample().tensor("norm", &[8], F32, vec![1; 32]).bytes()),
        "tensor \"norm\": appears twice"
    );
    let named = sample().tensor("evil\nname", &[3], 99, vec![]);
    assert_eq!(problem(&named.bytes()), "tensor \"evil\\nname\": unknown type 99");
}

#[test]
fn wrong_offsets_are_named() {
    let at = |offset: u64| {
        let mut file = sample();
        file.tensors[1].offset = Some(offset);
        problem(&file.bytes())
    };
    assert_eq!(at(33), "tensor \"matrix\": offset 33 is not a multiple of 32");
    assert_eq!(at(0), "tensor \"matrix\": overlaps tensor \"norm\"");
    assert_eq!(at(64), "tensor \"half\": overlaps tensor \"matrix\"");
    assert!(
        at(1 << 20).starts_with("tensor \"matrix\": 108 bytes at offset 1048576 go past the end of the file")
    );
    assert!(
        at(u64::MAX - 31).starts_with("tensor \"matrix\": 108 bytes at offset 18446744073709551584 go past")
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = sample();
    let bytes = file.bytes();
    let needed = bytes.len() - 16;
    for end in 0..needed {
        let text = problem(&bytes[..end]);
        assert!(
            end < 4 || ["version", "tensor", "key", "name of"].iter().any(|place| text.starts_with(place)),
            "cut at {end}: {text}"
        );
    }
    read(&bytes[..needed]).expect("only padding is missing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed in a file, reading ends, and what is accepted lies inside the file.
    #[test]
    fn changed_bytes_never_lead_outside_the_file(changes in prop::collection::vec((0usize..1200, any::<u8>()), 1..6)) {
        let mut bytes = sample().bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(header) = read(&bytes) {
            for tensor in header.tensors().values() {
                prop_assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
            }
        }
    }
}
