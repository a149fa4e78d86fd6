//! Block formats: rows of integers in blocks, each block with its own scales, as GGUF files store them.
//!
//! A row is a whole number of blocks and holds nothing else, so rows can be cut, moved and stacked without
//! touching their bits. All numbers are little endian; scales are halves; sums and products are f32, one
//! rounding for each operation (no fused multiply-add), which makes the values those of ggml's reference.

use std::fmt;

use half::f16;

/// How a row of values is packed into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "these are the formats' own names")]
pub enum BlockFormat {
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 4 bits; eight groups of 32, each with a 6-bit scale and minimum.
    Q4_K,
    /// 5 bits; eight groups of 32, each with a 6-bit scale and minimum.
    Q5_K,
    /// 6 bits; sixteen groups of 16, each with an 8-bit scale.
    Q6_K,
}

/// Values of a block of the plain formats.
const BLOCK: usize = 32;
/// Values of a block of the `_K` formats.
const SUPER_BLOCK: usize = 256;
/// Bytes of the packed 6-bit scales and minimums of `Q4_K` and `Q5_K`.
const PACKED_SCALES: usize = 12;

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 8] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4_K, Self::Q5_K, Self::Q6_K];

    /// Values in a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => BLOCK,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER_BLOCK,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 2 + BLOCK / 2,
            Self::Q4_1 => 4 + BLOCK / 2,
            Self::Q5_0 => 2 + BLOCK / 8 + BLOCK / 2,
            Self::Q5_1 => 4 + BLOCK / 8 + BLOCK / 2,
            Self::Q8_0 => 2 + BLOCK,
            Self::Q4_K => 4 + PACKED_SCALES + SUPER_BLOCK / 2,
            Self::Q5_K => 4 + PACKED_SCALES + SUPER_BLOCK / 8 + SUPER_BLOCK / 2,
            Self::Q6_K => SUPER_BLOCK / 2 + SUPER_BLOCK / 4 + SUPER_BLOCK / 16 + 2,
        }
    }

    /// Bytes of a row of `cols` values, which must be whole blocks.
    pub const fn row_bytes(self, cols: usize) -> usize {
        cols / self.block_len() * self.block_bytes()
    }

    /// The format's name, e.g. `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
        }
    }

    /// From [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// From the number that a GGUF file's tensor entry has.
    pub const fn from_ggml_type(number: u32) -> Option<Self> {
        match number {
            2 => Some(Self::Q4_0),
            3 => Some(Self::Q4_1),
            6 => Some(Self::Q5_0),
            7 => Some(Self::Q5_1),
            8 => Some(Self::Q8_0),
            12 => Some(Self::Q4_K),
            13 => Some(Self::Q5_K),
            14 => Some(Self::Q6_K),
            _ => None,
        }
    }

    /// Widens whole blocks of `bytes` into `out`. Lengths that belong together are
    /// `bytes.len() == row_bytes(out.len())`; otherwise as many blocks as both hold are widened.
    pub fn dequantize_row(self, bytes: &[u8], out: &mut [f32]) {
        let widen = match self {
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q4_K => q4_k,
            Self::Q5_K => q5_k,
            Self::Q6_K => q6_k,
        };
        let blocks = bytes.chunks_exact(self.block_bytes());
        for (block, values) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
            widen(block, values);
        }
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale (half), then 16 bytes: low nibbles are values 0..16, high nibbles 16..32.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((byte, low), high) in block[2..].iter().zip(low).zip(high) {
        *low = scale * (f32::from(byte & 15) - 8.0);
        *high = scale * (f32::from(byte >> 4) - 8.0);
    }
}

/// Scale and minimum (halves), then nibbles as in `Q4_0`.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 0), half_at(block, 2));
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((byte, low), high) in block[4..].iter().zip(low).zip(high) {
        *low = scale * f32::from(byte & 15) + min;
        *high = scale * f32::from(byte >> 4) + min;
    }
}

/// Scale (half), 32 fifth bits in the order of the values, then nibbles as in `Q4_0`.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    five_bits(&block[2..], out, |value| scale * (value - 16.0));
}

/// Scale and minimum (halves), then fifth bits and nibbles as in `Q5_0`.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 0), half_at(block, 2));
    five_bits(&block[4..], out, |value| scale * value + min);
}

fn five_bits(packed: &[u8], out: &mut [f32], widen: impl Fn(f32) -> f32) {
    let (fifth, nibbles) = packed.split_at(BLOCK / 8);
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for (index, ((byte, low), high)) in nibbles.iter().zip(low).zip(high).enumerate() {
        let (bit_low, bit_high) = ((fifth >> index & 1) as u8, (fifth >> (index + BLOCK / 2) & 1) as u8);
        *low = widen(f32::from(byte & 15 | bit_low << 4));
        *high = widen(f32::from(byte >> 4 | bit_high << 4));
    }
}

/// Scale (half), then one signed byte a value.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (byte, out) in block[2..].iter().zip(out) {
        *out = f32::from(byte.cast_signed()) * scale;
    }
}

/// Scale and minimum of the groups' scales and minimums (halves), the packed 6-bit ones, then 32 bytes for each
/// pair of groups: low nibbles the first group, high nibbles the second.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let groups = Groups::new(block);
    let nibbles = block[4 + PACKED_SCALES..].chunks_exact(32);
    for (pair, (nibbles, out)) in nibbles.zip(out.chunks_exact_mut(64)).enumerate() {
        let (first, second) = out.split_at_mut(32);
        let ((scale1, min1), (scale2, min2)) = (groups.get(2 * pair), groups.get(2 * pair + 1));
        for ((byte, first), second) in nibbles.iter().zip(first).zip(second) {
            *first = scale1 * f32::from(byte & 15) - min1;
            *second = scale2 * f32::from(byte >> 4) - min2;
        }
    }
}

/// As `Q4_K`, with 32 bytes of fifth bits before the nibbles: bit g of byte i belongs to value i of group g.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let groups = Groups::new(block);
    let (fifth, nibbles) = block[4 + PACKED_SCALES..].split_at(SUPER_BLOCK / 8);
    for (pair, (nibbles, out)) in nibbles.chunks_exact(32).zip(out.chunks_exact_mut(64)).enumerate() {
        let (first, second) = out.split_at_mut(32);
        let ((scale1, min1), (scale2, min2)) = (groups.get(2 * pair), groups.get(2 * pair + 1));
        for (((byte, fifth), first), second) in nibbles.iter().zip(fifth).zip(first).zip(second) {
            let (bit1, bit2) = (fifth >> (2 * pair) & 1, fifth >> (2 * pair + 1) & 1);
            *first = scale1 * f32::from(byte & 15 | bit1 << 4) - min1;
            *second = scale2 * f32::from(byte >> 4 | bit2 << 4) - min2;
        }
    }
}

/// The eight groups' scales and minimums of `Q4_K` and `Q5_K`.
struct Groups<'a> {
    scale: f32,
    min: f32,
    packed: &'a [u8],
}

impl<'a> Groups<'a> {
    fn new(block: &'a [u8]) -> Self {
        Self { scale: half_at(block, 0), min: half_at(block, 2), packed: &block[4..4 + PACKED_SCALES] }
    }

    /// Scale and minimum of a group. Groups 0..4 use the low 6 bits of bytes 0..4 and 4..8; groups 4..8 take
    /// their low 4 bits from bytes 8..12 and their high 2 bits from the top of bytes 0..4 and 4..8.
    fn get(&self, group: usize) -> (f32, f32) {
        let (scale, min) = if group < 4 {
            (self.packed[group] & 63, self.packed[group + 4] & 63)
        } else {
            let low = self.packed[group + 4];
            (low & 15 | self.packed[group - 4] >> 6 << 4, low >> 4 | self.packed[group] >> 6 << 4)
        };
        (self.scale * f32::from(scale), self.min * f32::from(min))
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, then their scale (half). Each half of the
/// block holds four runs of 32 values: runs 0 and 2 in the low and high nibbles of the first 32 nibble bytes,
/// runs 1 and 3 in those of the next 32; bit pair r of the 32 high bytes belongs to run r.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(SUPER_BLOCK / 2);
    let (high, rest) = rest.split_at(SUPER_BLOCK / 4);
    let (scales, scale) = rest.split_at(SUPER_BLOCK / 16);
    let scale = half_at(scale, 0);
    let runs = out.chunks_exact_mut(32).enumerate();
    for (index, out) in runs {
        let (half, run) = (index / 4, index % 4);
        let low = &low[64 * half + 32 * (run % 2)..][..32];
        let high = &high[32 * half..][..32];
        for (position, ((low, high), out)) in low.iter().zip(high).zip(out).enumerate() {
            let value = (low >> (4 * (run / 2)) & 15) | (high >> (2 * run) & 3) << 4;
            let group = scale * f32::from(scales[2 * index + position / 16].cast_signed());
            *out = group * (f32::from(value) - 32.0);
        }
    }
}
