//! Tensor entries: what a tensor is and where it lies.

use std::collections::BTreeMap;

use super::MAX_DIMENSIONS;
use super::cursor::Cursor;
use crate::checkpoint::blocks::BlockFormat;
use crate::dtype::Dtype;

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Sizes, innermost first: a matrix is `[inputs, outputs]`.
    pub dimensions: Vec<u64>,
    /// How the values are written.
    pub encoding: Encoding,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes of data.
    pub bytes: u64,
}

/// How the values of a tensor are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One number after the other.
    Plain(Dtype),
    /// Blocks along the innermost dimension.
    Blocks(BlockFormat),
}

impl Encoding {
    fn from_ggml_type(number: u32) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Plain(Dtype::F32)),
            1 => Ok(Self::Plain(Dtype::F16)),
            30 => Ok(Self::Plain(Dtype::Bf16)),
            _ => match (BlockFormat::from_ggml_type(number), unserved(number)) {
                (Some(format), _) => Ok(Self::Blocks(format)),
                (None, Some(name)) => Err(format!("type {name} is not served")),
                (None, None) => Err(format!("unknown type {number}")),
            },
        }
    }

    /// Values and bytes of the smallest unit.
    const fn unit(self) -> (u64, u64) {
        match self {
            Self::Plain(dtype) => (1, dtype.bytes() as u64),
            Self::Blocks(format) => (format.block_len() as u64, format.block_bytes() as u64),
        }
    }
}

/// Names of ggml's other types, for messages.
fn unserved(number: u32) -> Option<&'static str> {
    Some(match number {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return None,
    })
}

impl Tensor {
    /// Reads an entry; its offset still counts from the start of the data.
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, String> {
        let count = cursor.u32()?;
        if !(1..=MAX_DIMENSIONS).contains(&count) {
            return Err(format!("{count} dimensions, must be 1 to {MAX_DIMENSIONS}"));
        }
        let dimensions = (0..count).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
        let encoding = Encoding::from_ggml_type(cursor.u32()?)?;
        let bytes = size(&dimensions, encoding)?;
        Ok(Self { dimensions, encoding, offset: cursor.u64()?, bytes })
    }
}

fn size(dimensions: &[u64], encoding: Encoding) -> Result<u64, String> {
    let (values, bytes) = encoding.unit();
    if dimensions.contains(&0) {
        return Err(format!("a dimension of {dimensions:?} is zero"));
    }
    if !dimensions[0].is_multiple_of(values) {
        return Err(format!("rows of {} values are not whole blocks of {values}", dimensions[0]));
    }
    let total = dimensions.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    total
        .and_then(|total| (total / values).checked_mul(bytes))
        .ok_or_else(|| format!("dimensions {dimensions:?} are too large"))
}

/// Turns the entries' offsets into places in the file, and checks that they are aligned, in the file and apart.
pub(super) fn place(
    tensors: &mut BTreeMap<String, Tensor>,
    data_offset: u64,
    alignment: u64,
    file_size: u64,
) -> Result<(), String> {
    let mut places = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor {name:?}: offset {} is not a multiple of {alignment}",
                tensor.offset
            ));
        }
        let start = data_offset.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes)).filter(|end| *end <= file_size);
        let (Some(start), Some(end)) = (start, end) else {
            let Tensor { bytes, offset, .. } = tensor;
            return Err(format!(
                "tensor {name:?}: {bytes} bytes at offset {offset} go past the end of the file at {file_size}"
            ));
        };
        tensor.offset = start;
        places.push((start, end, name));
    }
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(format!("tensor {:?}: overlaps tensor {:?}", pair[1].2, pair[0].2)),
        None => Ok(()),
    }
}
