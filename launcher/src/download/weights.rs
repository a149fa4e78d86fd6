//! The weights of a GGUF file as one safetensors file: blocks are copied, never widened.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use gristmill_model::checkpoint::gguf::{Encoding, Header, Tensor};
use gristmill_model::checkpoint::safetensors::BLOCK_KEY;
use gristmill_model::dtype::Dtype;
use serde_json::{Map, Value, json};

use super::DownloadError;

/// Bytes copied at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// What a safetensors header is padded to, in bytes.
const HEADER_ALIGNMENT: usize = 8;

/// A tensor of a GGUF file under its new name.
pub(super) struct Weight<'a> {
    /// Name in the GGUF file.
    pub(super) source: String,
    /// Name in the folder.
    pub(super) name: String,
    /// Where it is.
    pub(super) tensor: &'a Tensor,
    /// For queries and keys: rows of one head. GGUF pairs neighbouring rows of a head for rope (2i and 2i + 1);
    /// the folder pairs the halves (i and i + half).
    pub(super) head_rows: Option<u64>,
}

impl Weight<'_> {
    fn dtype(&self) -> &'static str {
        match self.tensor.encoding {
            Encoding::Plain(Dtype::F32) => "F32",
            Encoding::Plain(Dtype::F16) => "F16",
            Encoding::Plain(Dtype::Bf16) => "BF16",
            Encoding::Blocks(_) => "U8",
        }
    }

    /// The shape in the safetensors header, outermost first; a row in blocks counts its bytes.
    fn shape(&self) -> Vec<u64> {
        let mut shape: Vec<u64> = self.tensor.dimensions.iter().rev().copied().collect();
        if let (Encoding::Blocks(_), Some(row)) = (self.tensor.encoding, shape.last_mut()) {
            *row = self.row_bytes();
        }
        shape
    }

    fn rows(&self) -> u64 {
        self.tensor.dimensions[1..].iter().product()
    }

    fn row_bytes(&self) -> u64 {
        self.tensor.bytes / self.rows()
    }

    /// Orders by number size, so that every plain tensor is aligned, and then by name.
    fn order(&self) -> (u8, &str) {
        let place = match self.tensor.encoding {
            Encoding::Plain(Dtype::F32) => 0,
            Encoding::Plain(_) => 1,
            Encoding::Blocks(_) => 2,
        };
        (place, &self.name)
    }
}

/// Whether any weight is kept in blocks.
pub(super) fn has_blocks(weights: &[Weight]) -> bool {
    weights.iter().any(|weight| matches!(weight.tensor.encoding, Encoding::Blocks(_)))
}

/// The widest of the matrices' number formats that is not f32 for all; blocks are widened to bf16.
pub(super) fn torch_dtype(weights: &[Weight]) -> &'static str {
    let matrices =
        || weights.iter().filter(|weight| weight.tensor.dimensions.len() > 1).map(|w| w.tensor.encoding);
    if has_blocks(weights) || matrices().any(|encoding| encoding == Encoding::Plain(Dtype::Bf16)) {
        "bfloat16"
    } else if matrices().any(|encoding| encoding == Encoding::Plain(Dtype::F16)) {
        "float16"
    } else {
        "float32"
    }
}

/// Writes a whole safetensors file into `file`, which is at `path`.
pub(super) fn write(
    header: &Header,
    weights: &mut [Weight],
    file: &mut File,
    path: &Path,
) -> Result<(), DownloadError> {
    let source = File::open(header.path()).map_err(DownloadError::io(header.path()))?;
    weights.sort_by(|a, b| a.order().cmp(&b.order()));
    let mut out = BufWriter::with_capacity(CHUNK_BYTES as usize, file);
    out.write_all(&safetensors_header(weights)).map_err(DownloadError::io(path))?;
    for weight in &*weights {
        let mut copy = Copy { header, source: &source, weight, out: &mut out, path };
        match weight.head_rows {
            Some(head_rows) => copy.head_by_head(head_rows)?,
            None => copy.bytes(0, weight.tensor.bytes)?,
        }
    }
    out.flush().map_err(DownloadError::io(path))
}

/// The length and JSON in front of the data.
fn safetensors_header(weights: &[Weight]) -> Vec<u8> {
    let formats = weights.iter().filter_map(|weight| match weight.tensor.encoding {
        Encoding::Blocks(format) => Some((format!("{BLOCK_KEY}{}", weight.name), json!(format.name()))),
        Encoding::Plain(_) => None,
    });
    let metadata: Map<String, Value> = formats.collect();
    let mut entries = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata))]);
    let mut end = 0;
    for weight in weights {
        let start = end;
        end += weight.tensor.bytes;
        let entry = json!({"dtype": weight.dtype(), "shape": weight.shape(), "data_offsets": [start, end]});
        entries.insert(weight.name.clone(), entry);
    }
    let mut json = Value::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(HEADER_ALIGNMENT), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json].concat()
}

/// Copies one tensor's data.
struct Copy<'a, W> {
    header: &'a Header,
    source: &'a File,
    weight: &'a Weight<'a>,
    out: &'a mut W,
    path: &'a Path,
}

impl<W: Write> Copy<'_, W> {
    /// Copies rows in the order the folder has them.
    fn head_by_head(&mut self, head_rows: u64) -> Result<(), DownloadError> {
        let row_bytes = self.weight.row_bytes();
        for row in 0..self.weight.rows() {
            self.bytes(source_row(row, head_rows) * row_bytes, row_bytes)?;
        }
        Ok(())
    }

    /// Copies a part of the tensor in chunks.
    fn bytes(&mut self, start: u64, len: u64) -> Result<(), DownloadError> {
        let Weight { source, tensor, .. } = self.weight;
        let mut buffer = vec![0; len.min(CHUNK_BYTES) as usize];
        let mut done = 0;
        while done < len {
            let chunk = &mut buffer[..(len - done).min(CHUNK_BYTES) as usize];
            let read = self.source.read_exact_at(chunk, tensor.offset + start + done);
            read.map_err(|e| self.header.tensor_error(source, &e.to_string()))?;
            self.out.write_all(chunk).map_err(DownloadError::io(self.path))?;
            done += chunk.len() as u64;
        }
        Ok(())
    }
}

/// The GGUF row that becomes row `row` of the folder's matrix.
fn source_row(row: u64, head_rows: u64) -> u64 {
    let (head, within) = (row / head_rows, row % head_rows);
    let half = head_rows / 2;
    head * head_rows + 2 * (within % half) + within / half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_go_back_to_halves() {
        // One head of 6 rows holds the pairs (0, 3), (1, 4), (2, 5) side by side.
        let rows: Vec<u64> = (0..12).map(|row| source_row(row, 6)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
