//! Headers that lie, and files that change.

use std::fmt::Write;

use half::{bf16, f16};
use proptest::prelude::*;
use serde_json::json;

use gristmill_model::checkpoint::blocks::BlockFormat;
use gristmill_model::checkpoint::safetensors::{Format, SafetensorsFile};
use gristmill_model::dtype::Dtype;

use crate::writer::{Folder, SINGLE, Safetensors, assert_refused, raw};

/// A file with this header and so many bytes of data is refused, naming the file and these.
fn refused(header: &[u8], data: usize, words: &[&str]) {
    refused_bytes(&raw(header, &vec![0; data]), words);
}

fn refused_bytes(bytes: &[u8], words: &[&str]) {
    let folder = Folder::new();
    folder.write(SINGLE, bytes);
    folder.refused(&[&[SINGLE], words].concat());
}

/// The header of tensors `(name, dtype, shape, begin, end)`.
fn header(tensors: &[(&str, &str, &[u64], u64, u64)]) -> Vec<u8> {
    let entry = |dtype: &str, shape: &[u64], begin: u64, end: u64| {
        json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}).to_string()
    };
    let entries = tensors.iter().map(|(name, dtype, shape, begin, end)| {
        format!("{}:{}", json!(name), entry(dtype, shape, *begin, *end))
    });
    format!("{{{}}}", entries.collect::<Vec<_>>().join(",")).into_bytes()
}

#[test]
fn lengths_that_lie_are_told() {
    for bytes in 0..8 {
        refused_bytes(&vec![0; bytes], &[&format!("{bytes} bytes are too few")]);
    }
    refused_bytes(&0u64.to_le_bytes(), &["header", "does not begin with {"]);
    refused_bytes(
        &raw(b"{}     ", &[])[..14],
        &["header", "length 7 goes past the end of the file at 14 bytes"],
    );
    refused_bytes(&[&7u64.to_le_bytes()[..], b"{\"a\":0}"].concat(), &["tensor a"]);
    refused_bytes(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat(), &["header", "length 18446744073709551615"]);
    refused_bytes(
        &99_999_999u64.to_le_bytes(),
        &["header", "length 99999999 goes past the end of the file at 8 bytes"],
    );
}

#[test]
fn a_header_over_the_limit_is_not_read() {
    let folder = Folder::new();
    folder.write(SINGLE, &100_000_001u64.to_le_bytes());
    folder.resize(SINGLE, 300_000_000);
    folder.refused(&[SINGLE, "header", "length 100000001 is over the limit of 100000000"]);
}

#[test]
fn headers_that_are_not_a_map_of_tensors_are_told() {
    refused(b"", 0, &["header"]);
    refused(b" {}", 0, &["header", "does not begin with {"]);
    refused(b"[]", 0, &["header", "does not begin with {"]);
    refused(b"{", 0, &["header", "EOF"]);
    refused(b"{}{}", 0, &["header", "trailing characters"]);
    refused(b"{\"a\xff\":{}}", 0, &["header", "column"]);
    refused(b"{\"\\ud800\":{}}", 0, &["header", "column"]);
    refused(br#"{"a":7}"#, 0, &["header", "tensor a", "integer `7`"]);
    refused(br#"{"a":{}}"#, 0, &["header", "tensor a", "missing field `dtype`"]);
    refused(br#"{"a":{"dtype":1}}"#, 0, &["header", "tensor a", "integer `1`"]);
    refused(br#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, 0, &["tensor a", "integer `-1`"]);
    refused(br#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,0]}}"#, 0, &["tensor a", "1.5"]);
    refused(
        br#"{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,0]}}"#,
        0,
        &["tensor a", "out of range"],
    );
    refused(br#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0]}}"#, 0, &["tensor a", "length 1"]);
    refused(br#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}}"#, 4, &["tensor a"]);
    refused(br#"{"__metadata__":{"a":1}}"#, 0, &["header", "integer `1`"]);
    refused(br#"{"__metadata__":{},"__metadata__":{}}"#, 0, &["__metadata__ is listed twice"]);
}

#[test]
fn a_name_listed_twice_is_told() {
    refused(&header(&[("a", "F32", &[1], 0, 4), ("a", "F32", &[1], 0, 4)]), 4, &["tensor a is listed twice"]);
    refused(&header(&[("a", "F32", &[1], 0, 4), ("a", "F32", &[1], 4, 8)]), 8, &["tensor a is listed twice"]);
    refused(&header(&[("a", "F32", &[0], 0, 0), ("a", "F32", &[0], 0, 0)]), 0, &["tensor a is listed twice"]);
    let twice = br#"{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}"#;
    refused(twice, 4, &["tensor a", "duplicate field `dtype`"]);
}

#[test]
fn offsets_that_do_not_fill_the_file_are_told() {
    refused(
        &header(&[("a", "F32", &[1], 0, 4), ("b", "F32", &[1], 2, 6)]),
        6,
        &["tensor b", "[2, 6]", "begin at 4"],
    );
    refused(
        &header(&[("a", "F32", &[1], 0, 4), ("b", "F32", &[1], 0, 4)]),
        4,
        &["tensor b", "[0, 4]", "begin at 4"],
    );
    refused(&header(&[("a", "F32", &[1], 0, 4), ("b", "F32", &[1], 8, 12)]), 12, &["tensor b", "[8, 12]"]);
    refused(&header(&[("a", "F32", &[1], 4, 8)]), 8, &["tensor a", "begin at 0"]);
    refused(&header(&[("a", "F32", &[0], 4, 0)]), 4, &["tensor a", "[4, 0]"]);
    refused(&header(&[("a", "F32", &[1], 0, 4), ("b", "F32", &[1], 4, 0)]), 4, &["tensor b", "[4, 0]"]);
    refused(&header(&[("a", "F32", &[2], 0, 8)]), 4, &["tensor a", "[0, 8]", "end by 4"]);
    refused(&header(&[("a", "F32", &[1], u64::MAX - 3, u64::MAX)]), 4, &["tensor a", "18446744073709551615"]);
    refused(&header(&[("a", "U8", &[u64::MAX], 0, u64::MAX)]), 4, &["tensor a", "18446744073709551615"]);
    refused(&header(&[("a", "F32", &[1], 0, 4)]), 5, &["1 bytes after the last tensor"]);
    refused(b"{}", 3, &["3 bytes after the last tensor"]);
}

#[test]
fn shapes_that_do_not_take_their_bytes_are_told() {
    refused(&header(&[("a", "F32", &[3], 0, 8)]), 8, &["tensor a", "F32", "[3]", "8 bytes"]);
    refused(&header(&[("a", "F32", &[0], 0, 4)]), 4, &["tensor a", "F32", "[0]", "4 bytes"]);
    refused(&header(&[("a", "F32", &[], 0, 8)]), 8, &["tensor a", "F32", "[]", "8 bytes"]);
    refused(&header(&[("a", "BF16", &[2, 2], 0, 16)]), 16, &["tensor a", "BF16", "[2, 2]", "16 bytes"]);
    // Four bits a value: an odd count ends within a byte.
    refused(&header(&[("a", "F4", &[3], 0, 2)]), 2, &["tensor a", "F4", "[3]", "2 bytes"]);
    refused(&header(&[("a", "F4", &[3], 0, 1)]), 1, &["tensor a", "F4", "[3]", "1 bytes"]);
    refused(&header(&[("a", "F6_E2M3", &[3], 0, 3)]), 3, &["tensor a", "F6_E2M3"]);
    refused(&header(&[("a", "F32", &[1 << 32, 1 << 32], 0, 4)]), 4, &["tensor a", "is too large"]);
    refused(&header(&[("a", "F32", &[1 << 63], 0, 4)]), 4, &["tensor a", "4 bytes"]);
    refused(&header(&[("a", "F64", &[1 << 61, 2], 0, 0)]), 0, &["tensor a", "0 bytes"]);
    refused(&header(&[("a", "F32", &[0, 1 << 40, 1 << 40], 0, 0)]), 0, &["tensor a", "is too large"]);
    refused(&header(&[("a", "F32", &[1; 9], 0, 4)]), 4, &["tensor a", "more than 8 dimensions"]);
}

#[test]
fn dtypes_outside_the_format_are_told() {
    for dtype in ["F128", "", "f32", "BF16 ", "Q4_0"] {
        refused(&header(&[("a", dtype, &[1], 0, 4)]), 4, &["tensor a", &format!("unknown dtype {dtype}")]);
    }
}

#[test]
fn floods_are_refused() {
    let long = "n".repeat(50_000_000);
    refused(format!("{{\"{long}\":{{}}}}").as_bytes(), 0, &["name nnnn", "50000000 bytes, at most 1024"]);
    refused(&header(&[("a", &long, &[1], 0, 4)]), 4, &["tensor a", "unknown dtype nnnn"]);
    let dimensions = "1,".repeat(10_000_000);
    let header = format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{dimensions}1],\"data_offsets\":[0,4]}}}}");
    refused(header.as_bytes(), 4, &["tensor a", "more than 8 dimensions"]);
    let mut header = String::from("{");
    for tensor in 0..1_000_000 {
        write!(header, "\"t{tensor}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},")
            .expect("writing");
    }
    header.replace_range(header.len() - 1.., "}");
    refused(header.as_bytes(), 0, &["more than 262144 tensors"]);
}

#[test]
fn deep_nesting_is_refused() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    for value in [open.clone(), format!("{open}{close}")] {
        refused(format!("{{\"a\":{value}}}").as_bytes(), 0, &["header", "tensor a"]);
        refused(format!("{{\"__metadata__\":{value}}}").as_bytes(), 0, &["header"]);
        refused(format!("{{\"a\":{{\"shape\":{value}}}}}").as_bytes(), 0, &["header", "tensor a"]);
        refused(format!("{{\"a\":{{\"unknown\":{value}}}}}").as_bytes(), 0, &["header", "tensor a"]);
    }
}

#[test]
fn messages_stay_on_one_line() {
    refused(b"{\"a\\nb\":7}", 0, &["tensor a\\nb"]);
    refused(&header(&[("a\r\n\u{7}", "F32\n", &[1], 0, 4)]), 4, &["tensor a\\r\\n", "unknown dtype F32\\n"]);
}

#[test]
fn what_is_no_file_is_told() {
    let folder = Folder::new();
    folder.refused(&[SINGLE, "No such file"]);
    std::fs::create_dir(folder.path().join(SINGLE)).expect("a folder");
    folder.refused(&[SINGLE, "is not a regular file"]);
    let folder = Folder::new();
    // To open this for reading would wait for a writer.
    let made = std::process::Command::new("mkfifo").arg(folder.path().join(SINGLE)).status().expect("mkfifo");
    assert!(made.success());
    folder.refused(&[SINGLE, "is not a regular file"]);
}

#[test]
fn every_dtype_of_the_format_is_read() {
    let folder = Folder::new();
    let mut file = Safetensors::default();
    let bits = [
        ("BOOL", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("U8", 8),
        ("I8", 8),
        ("F8_E5M2", 8),
        ("F8_E4M3", 8),
        ("F8_E8M0", 8),
        ("I16", 16),
        ("U16", 16),
        ("F16", 16),
        ("BF16", 16),
        ("I32", 32),
        ("U32", 32),
        ("F32", 32),
        ("C64", 64),
        ("F64", 64),
        ("I64", 64),
        ("U64", 64),
    ];
    for (dtype, bits) in bits {
        file = file.tensor(dtype, dtype, &[4], &vec![0; bits / 2]);
    }
    folder.write(SINGLE, &file.bytes());
    let (_, tensors) = SafetensorsFile::open(&folder.path().join(SINGLE)).expect("a good file");
    let checkpoint = folder.open().expect("a good file");
    for (dtype, _) in bits {
        let tensor = &tensors[dtype];
        assert_eq!(tensor.shape, [4]);
        match Dtype::from_safetensors(dtype) {
            Some(plain) => {
                assert_eq!(tensor.format, Format::Plain(plain));
                checkpoint.expect(dtype, &[4]).expect("a served format");
            }
            None => {
                assert_eq!(tensor.format, Format::Other(dtype));
                let words = [SINGLE, &format!("tensor {dtype}"), &format!("dtype {dtype} is not served")];
                assert_refused(checkpoint.expect(dtype, &[4]), &words);
                assert_refused(checkpoint.read_rows(dtype, 0..4, 0..1, &mut [0.0; 4]), &words);
            }
        }
    }
}

#[test]
fn empty_tensors_and_padding_are_fine() {
    let folder = Folder::new();
    let mut header = header(&[("z", "F32", &[0, 7], 0, 0), ("scalar", "F32", &[], 0, 4)]);
    header.resize(header.len() + 13, b' ');
    folder.write(SINGLE, &raw(&header, &2.5f32.to_le_bytes()));
    let checkpoint = folder.open().expect("a good file");
    let mut out = [0.0];
    checkpoint.read_rows("scalar", 0..1, 0..1, &mut out).expect("reading");
    assert_eq!(out, [2.5]);
    checkpoint.read_rows("z", 0..0, 0..7, &mut []).expect("reading nothing");
    assert_refused(checkpoint.read_rows("z", 0..1, 0..7, &mut [0.0; 7]), &[SINGLE, "tensor z", "rows 0..1"]);
}

#[test]
fn needed_tensors_are_checked() {
    let folder = Folder::new();
    folder.write(SINGLE, &Safetensors::default().floats("a", &[2, 3], &[0.0; 6]).bytes());
    let checkpoint = folder.open().expect("a good file");
    checkpoint.expect("a", &[2, 3]).expect("it is there");
    assert_refused(checkpoint.expect("b", &[2, 3]), &["weight b does not exist"]);
    assert_refused(checkpoint.expect("a", &[3, 2]), &[SINGLE, "tensor a", "[2, 3]", "[3, 2]", "config.json"]);
    assert_refused(checkpoint.expect("a", &[6]), &[SINGLE, "tensor a"]);
}

#[test]
fn reads_outside_a_tensor_are_refused() {
    let folder = Folder::new();
    folder.write(
        SINGLE,
        &Safetensors::default().floats("a", &[2, 3], &[0.0; 6]).floats("b", &[9], &[1.0; 9]).bytes(),
    );
    let checkpoint = folder.open().expect("a good file");
    for (rows, cols, values) in
        [(0..3, 0..3, 9), (2..3, 0..3, 3), (0..2, 1..4, 6), (0..2, 0..3, 5), (0..2, 0..3, 7)]
    {
        let mut out = vec![0.0; values];
        assert_refused(checkpoint.read_rows("a", rows, cols, &mut out), &[SINGLE, "tensor a", "[2, 3]"]);
    }
    assert_refused(checkpoint.read_rows("c", 0..1, 0..1, &mut [0.0]), &["weight c does not exist"]);
}

#[test]
fn a_file_that_became_shorter_is_told() {
    let folder = Folder::new();
    let bytes =
        Safetensors::default().floats("a", &[2, 3], &[1.0; 6]).floats("b", &[2, 3], &[2.0; 6]).bytes();
    folder.write(SINGLE, &bytes);
    let checkpoint = folder.open().expect("a good file");
    folder.resize(SINGLE, bytes.len() as u64 - 1);
    let mut out = [0.0; 6];
    checkpoint.read_rows("a", 0..2, 0..3, &mut out).expect("it is still there");
    assert_eq!(out, [1.0; 6]);
    let words = [SINGLE, "tensor b", "the file has become shorter"];
    assert_refused(checkpoint.read_rows("b", 0..2, 0..3, &mut out), &words);
    assert_refused(checkpoint.read_rows("b", 1..2, 2..3, &mut out[..1]), &words);
    checkpoint.read_rows("b", 0..2, 0..2, &mut out[..4]).expect("these columns are still there");
    assert_eq!(out[..4], [2.0; 4]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = Safetensors::default().floats("a", &[2, 3], &[1.0; 6]).bytes();
    for length in 0..bytes.len() {
        refused_bytes(&bytes[..length], &[]);
    }
}

#[test]
fn block_tensors_are_checked() {
    let blocks = |dtype: &str, shape: &[usize], bytes: usize, format: &str| {
        let folder = Folder::new();
        let file =
            Safetensors::default().tensor("a", dtype, shape, &vec![0; bytes]).metadata("gguf.a", format);
        folder.write(SINGLE, &file.bytes());
        folder
    };
    let folder = blocks("U8", &[2, 36], 72, "Q4_0");
    folder.open().expect("two rows of two blocks").expect("a", &[2, 64]).expect("64 values a row");
    blocks("U8", &[2, 36], 72, "Q9_9").refused(&[SINGLE, "tensor a", "unknown block format Q9_9"]);
    blocks("U8", &[2, 35], 70, "Q4_0").refused(&[SINGLE, "tensor a", "[2, 35]", "Q4_0"]);
    blocks("U8", &[2, 0], 0, "Q4_0").refused(&[SINGLE, "tensor a", "[2, 0]", "Q4_0"]);
    blocks("U8", &[72], 72, "Q4_0").refused(&[SINGLE, "tensor a", "[72]", "Q4_0"]);
    blocks("U8", &[1, 2, 36], 72, "Q4_0").refused(&[SINGLE, "tensor a", "[1, 2, 36]"]);
    blocks("I8", &[2, 36], 72, "Q4_0").refused(&[SINGLE, "tensor a", "I8", "[2, 36]"]);
    blocks("U8", &[0, usize::MAX / 18 * 18], 0, "Q4_0").refused(&[SINGLE, "tensor a", "Q4_0"]);
    // Bytes without a format are no numbers.
    let folder = Folder::new();
    folder.write(SINGLE, &Safetensors::default().tensor("a", "U8", &[2, 36], &[0; 72]).bytes());
    let checkpoint = folder.open().expect("a good file");
    assert_refused(checkpoint.expect("a", &[2, 36]), &["tensor a", "dtype U8 is not served"]);
}

#[test]
fn metadata_says_nothing_twice() {
    let twice = br#"{"__metadata__":{"gguf.a":"Q4_0","gguf.a":"Q8_0","x":"1","x":"2"}}"#;
    refused(twice, 0, &["__metadata__", "gguf.a", "Q4_0", "Q8_0"]);
}

/// How a matrix is stored: a dtype, and the block format if it is `U8`.
type Stored = (&'static str, Option<BlockFormat>);

fn stored_formats() -> Vec<Stored> {
    let blocks = BlockFormat::ALL.into_iter().map(|format| ("U8", Some(format)));
    ["F32", "F16", "BF16"].map(|dtype| (dtype, None)).into_iter().chain(blocks).collect()
}

/// What a matrix of `cols` values a row, stored so, holds.
fn widened(stored: Stored, bytes: &[u8], cols: usize) -> Vec<f32> {
    match stored {
        ("F32", _) => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        ("F16", _) => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        ("BF16", _) => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        (_, Some(format)) => {
            let rows = bytes.chunks_exact(format.row_bytes(cols)).map(|row| {
                let mut out = vec![0.0; cols];
                format.dequantize_row(row, &mut out);
                out
            });
            rows.flatten().collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A matrix of one of the formats, some rows and columns of it, and its bytes.
fn slices() -> impl Strategy<Value = (Stored, [usize; 2], [usize; 4], Vec<u8>)> {
    (prop::sample::select(stored_formats()), 1..5usize, 1..6usize).prop_flat_map(|(stored, rows, pieces)| {
        let (cols, row_bytes) = match stored {
            (_, Some(format)) => (pieces * format.block_len(), pieces * format.block_bytes()),
            ("F32", None) => (pieces, pieces * 4),
            _ => (pieces, pieces * 2),
        };
        let range = |size: usize| (0..=size, 0..=size).prop_map(|(a, b)| [a.min(b), a.max(b)]);
        let bytes = prop::collection::vec(any::<u8>(), rows * row_bytes);
        (range(rows), range(cols), bytes)
            .prop_map(move |(r, c, bytes)| (stored, [rows, cols], [r[0], r[1], c[0], c[1]], bytes))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_slice_read_is_a_slice_of_the_whole((stored, [rows, cols], [r0, r1, c0, c1], bytes) in slices()) {
        let folder = Folder::new();
        let width = bytes.len() / rows;
        let shape = if stored.1.is_some() { [rows, width] } else { [rows, cols] };
        // A first tensor, so that the offset is not 0.
        let mut file = Safetensors::default().tensor("first", "U8", &[5], &[1; 5]);
        file = file.tensor("a", stored.0, &shape, &bytes);
        if let Some(format) = stored.1 {
            file = file.metadata("gguf.a", format.name());
        }
        folder.write(SINGLE, &file.bytes());
        let checkpoint = folder.open().expect("a good file");
        checkpoint.expect("a", &[rows, cols]).expect("the shape in values");
        let mut out = vec![0.0; (r1 - r0) * (c1 - c0)];
        checkpoint.read_rows("a", r0..r1, c0..c1, &mut out).expect("reading");
        let whole = widened(stored, &bytes, cols);
        let expected: Vec<u32> = (r0..r1).flat_map(|row| &whole[row * cols + c0..row * cols + c1]).map(|v| v.to_bits()).collect();
        prop_assert_eq!(out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);
    }

    /// Whatever is changed, a file is refused in a line that names it, or all its tensors can be read.
    #[test]
    fn changed_bytes_never_lead_outside_the_file(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let file = Safetensors::default()
            .floats("a", &[2, 3], &[1.0; 6])
            .tensor("b", "U8", &[2, 18], &[2; 36])
            .metadata("gguf.b", "Q4_0");
        let mut bytes = file.bytes();
        let end = bytes.len() - 60;
        for (at, byte) in changes {
            bytes[at.index(end)] = byte;
        }
        let folder = Folder::new();
        folder.write(SINGLE, &bytes);
        match SafetensorsFile::open(&folder.path().join(SINGLE)) {
            Err(error) => prop_assert!(error.to_string().contains(SINGLE)),
            Ok((_, tensors)) => {
                let checkpoint = folder.open().expect("it opened once");
                for (name, tensor) in tensors {
                    let (rows, width) = (tensor.shape.first().map_or(1, |n| *n), tensor.shape.iter().skip(1).product());
                    let mut out = vec![0.0; rows * width];
                    let read = checkpoint.read_rows(&name, 0..rows, 0..width, &mut out);
                    prop_assert_eq!(read.is_ok(), !matches!(tensor.format, Format::Other(_)));
                }
            }
        }
    }
}
