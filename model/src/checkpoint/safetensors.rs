//! safetensors files: an 8-byte length, a JSON header, then the tensors without gaps.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. A GGUF tensor kept in its blocks is stored as `U8`
//! of shape `[rows, bytes a row]`; the header's metadata entry `gguf.<tensor>` names the block format.

mod header;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::blocks::BlockFormat;
use super::{CheckpointError, open_file};
use crate::dtype::Dtype;

/// Prefix of metadata entries that name a block format.
pub const BLOCK_KEY: &str = "gguf.";
/// Bytes of a file read at a time, where a row has fewer.
const READ_BYTES: usize = 1 << 20;

/// An open weight file whose header was read and checked.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Where and how a tensor is stored. All of it lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Shape in values, outermost first.
    pub shape: Vec<usize>,
    /// Number format.
    pub format: Format,
    /// First byte in the file.
    offset: u64,
}

/// How a tensor's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One number after the other.
    Plain(Dtype),
    /// GGUF blocks along each row.
    Blocks(BlockFormat),
    /// Something no weight of a served model may have, kept to be named when one does.
    Other(&'static str),
}

impl SafetensorsFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The header breaks a rule of the format: the error names the tensor.
    pub fn open(path: &Path) -> Result<(Self, HashMap<String, Tensor>), CheckpointError> {
        let (file, bytes) = open_file(path)?;
        let tensors = header::read(&file, bytes).map_err(|problem| CheckpointError::new(path, problem))?;
        Ok((Self { path: path.to_owned(), file, bytes }, tensors))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads a slice of a tensor; see [`super::Checkpoint::read_rows`].
    pub(super) fn read_rows(
        &self,
        tensor: &Tensor,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), String> {
        let block = tensor.format.block()?;
        let inside = rows.start <= rows.end && rows.end <= tensor.rows();
        let inside = inside && cols.start <= cols.end && cols.end <= tensor.width();
        if !inside || out.len() != rows.len() * cols.len() {
            let (shape, values) = (&tensor.shape, out.len());
            return Err(format!(
                "rows {rows:?}, columns {cols:?} of shape {shape:?} are not {values} values"
            ));
        }
        if out.is_empty() {
            return Ok(());
        }
        let read = if cols.len() == tensor.width() {
            self.read_whole_rows(tensor, block, rows, out)
        } else {
            self.read_columns(tensor, block, rows, cols, out)
        };
        read.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => "the file has become shorter".to_owned(),
            _ => e.to_string(),
        })
    }

    fn read_whole_rows(
        &self,
        tensor: &Tensor,
        block: Block,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> io::Result<()> {
        let width = tensor.width();
        let row_bytes = width / block.len * block.bytes;
        let at_once = (READ_BYTES / row_bytes).clamp(1, rows.len());
        let mut raw = vec![0u8; at_once * row_bytes];
        for (row, out) in rows.step_by(at_once).zip(out.chunks_mut(at_once * width)) {
            let raw = &mut raw[..out.len() / width * row_bytes];
            self.file.read_exact_at(raw, tensor.offset + (row * row_bytes) as u64)?;
            tensor.format.widen(raw, out);
        }
        Ok(())
    }

    /// Reads, of each row, the blocks that hold these columns.
    fn read_columns(
        &self,
        tensor: &Tensor,
        block: Block,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
    ) -> io::Result<()> {
        let row_bytes = tensor.width() / block.len * block.bytes;
        let blocks = cols.start / block.len..cols.end.div_ceil(block.len);
        let within = cols.start - blocks.start * block.len..cols.end - blocks.start * block.len;
        let mut raw = vec![0u8; blocks.len() * block.bytes];
        let mut values = vec![0f32; blocks.len() * block.len];
        for (row, out) in rows.zip(out.chunks_exact_mut(cols.len())) {
            let start = row * row_bytes + blocks.start * block.bytes;
            self.file.read_exact_at(&mut raw, tensor.offset + start as u64)?;
            tensor.format.widen(&raw, &mut values);
            out.copy_from_slice(&values[within.clone()]);
        }
        Ok(())
    }
}

impl Tensor {
    /// Rows of a matrix, entries of a vector.
    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Values of a row: all dimensions but the first.
    fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// The smallest piece of a row that stands for itself.
#[derive(Clone, Copy)]
struct Block {
    /// Values.
    len: usize,
    /// Bytes.
    bytes: usize,
}

impl Format {
    fn block(self) -> Result<Block, String> {
        match self {
            Self::Plain(dtype) => Ok(Block { len: 1, bytes: dtype.bytes() }),
            Self::Blocks(blocks) => Ok(Block { len: blocks.block_len(), bytes: blocks.block_bytes() }),
            Self::Other(dtype) => Err(format!("dtype {dtype} is not served")),
        }
    }

    /// Widens whole blocks.
    fn widen(self, raw: &[u8], out: &mut [f32]) {
        match self {
            Self::Plain(Dtype::F32) => {
                for (value, bytes) in out.iter_mut().zip(raw.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Self::Plain(Dtype::F16) => {
                let halves: Vec<f16> =
                    raw.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
                halves.convert_to_f32_slice(out);
            }
            Self::Plain(Dtype::Bf16) => {
                for (value, bytes) in out.iter_mut().zip(raw.as_chunks().0) {
                    *value = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::Blocks(blocks) => blocks.dequantize_row(raw, out),
            Self::Other(_) => {}
        }
    }
}
