//! Block formats against what Python's `gguf` 0.19 makes of the same bytes (recorded by data/gguf/record.py).

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use gristmill_model::checkpoint::blocks::BlockFormat;
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    blocks: String,
    values: String,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("hex") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn recorded() -> BTreeMap<String, Recorded> {
    serde_json::from_str(include_str!("data/gguf/blocks.json")).expect("recorded blocks")
}

#[test]
fn widened_values_have_the_recorded_bits() {
    let recorded = recorded();
    assert_eq!(recorded.len(), BlockFormat::ALL.len());
    for (name, Recorded { blocks, values }) in recorded {
        let format = BlockFormat::from_name(&name).expect("a served format");
        let blocks = unhex(&blocks);
        let expected: Vec<u32> = unhex(&values)
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes")))
            .collect();
        assert_eq!(blocks.len(), format.row_bytes(expected.len()), "{name}");
        let mut out = vec![f32::NAN; expected.len()];
        format.dequantize_row(&blocks, &mut out);
        let out: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
        assert_eq!(out, expected, "{name}");
    }
}

#[test]
fn a_row_is_its_blocks_side_by_side() {
    for (name, Recorded { blocks, .. }) in recorded() {
        let format = BlockFormat::from_name(&name).expect("a served format");
        let blocks = unhex(&blocks);
        let mut whole = vec![0f32; blocks.len() / format.block_bytes() * format.block_len()];
        format.dequantize_row(&blocks, &mut whole);
        for (block, expected) in blocks.chunks(format.block_bytes()).zip(whole.chunks(format.block_len())) {
            let mut one = vec![0f32; format.block_len()];
            format.dequantize_row(block, &mut one);
            assert_eq!(one, expected, "{name}");
        }
    }
}

#[test]
fn names_and_numbers_are_ggmls() {
    let numbers = [2, 3, 6, 7, 8, 12, 13, 14];
    let sizes = [18, 20, 22, 24, 34, 144, 176, 210];
    for ((format, number), size) in BlockFormat::ALL.into_iter().zip(numbers).zip(sizes) {
        assert_eq!(BlockFormat::from_ggml_type(number), Some(format));
        assert_eq!(BlockFormat::from_name(format.name()), Some(format));
        assert_eq!(format.block_bytes(), size);
    }
    assert_eq!((0..64).filter_map(BlockFormat::from_ggml_type).count(), 8);
    assert_eq!(BlockFormat::from_name("q4_0"), None);
}
