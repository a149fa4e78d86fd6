//! The header of a safetensors file, checked in full against the size of the file.
//!
//! Until it is checked, what a header says decides only about memory in proportion to the header itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{BLOCK_KEY, BlockFormat, Format, Tensor};
use crate::dtype::Dtype;

/// Bytes of a header; the reference reader's limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Tensors in one file; the largest models have about 150,000 in many files.
const MAX_TENSORS: usize = 1 << 18;
/// Bytes of a tensor's name.
const MAX_NAME_BYTES: usize = 1024;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// The number formats of the specification that no weight may have here, and their bits.
const OTHER_DTYPES: [(&str, u64); 19] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("I32", 32),
    ("U32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
];

/// Reads the header of a file of `bytes` bytes; the error says what is wrong.
pub(super) fn read(file: &File, bytes: u64) -> Result<HashMap<String, Tensor>, String> {
    let text = read_text(file, bytes)?;
    let header: Header = serde_json::from_slice(&text).map_err(|e| format!("header: {e}"))?;
    let start = 8 + text.len() as u64;
    place(header, start, bytes - start)
}

fn read_text(file: &File, bytes: u64) -> Result<Vec<u8>, String> {
    let mut prefix = [0u8; 8];
    file.read_exact_at(&mut prefix, 0)
        .map_err(|_| format!("{bytes} bytes are too few for a safetensors file"))?;
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER_BYTES {
        return Err(format!("header: length {length} is over the limit of {MAX_HEADER_BYTES}"));
    }
    if bytes < 8 || length > bytes - 8 {
        return Err(format!("header: length {length} goes past the end of the file at {bytes} bytes"));
    }
    let mut text = vec![0u8; length as usize];
    file.read_exact_at(&mut text, 8).map_err(|e| format!("header: {e}"))?;
    match text.first() {
        Some(b'{') => Ok(text),
        _ => Err("header: does not begin with {".to_owned()),
    }
}

/// The header as written.
struct Header<'a> {
    blocks: Blocks<'a>,
    tensors: Vec<(Cow<'a, str>, Entry<'a>)>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// Text that is not copied out of the header unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Sizes, outermost first.
struct Shape(Vec<usize>);

/// Names of block formats by tensor, out of the metadata; the rest of it is not kept.
#[derive(Default)]
struct Blocks<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let (mut blocks, mut tensors) = (None, Vec::new());
        while let Some(Text(name)) = map.next_key()? {
            if name.len() > MAX_NAME_BYTES {
                let (start, bytes): (String, _) = (name.chars().take(32).collect(), name.len());
                return Err(A::Error::custom(format!(
                    "name {start}... has {bytes} bytes, at most {MAX_NAME_BYTES}"
                )));
            }
            if name != "__metadata__" {
                let entry = map.next_value().map_err(|e| A::Error::custom(format!("tensor {name}: {e}")))?;
                tensors.push((name, entry));
            } else if blocks.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("__metadata__ is listed twice"));
            }
            if tensors.len() > MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
        }
        Ok(Header { blocks: blocks.unwrap_or_default(), tensors })
    }
}

impl<'de> Deserialize<'de> for Blocks<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BlocksVisitor)
    }
}

struct BlocksVisitor;

impl<'de> Visitor<'de> for BlocksVisitor {
    type Value = Blocks<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blocks<'de>, A::Error> {
        let mut blocks = Blocks::default();
        while let Some((Text(key), Text(value))) = map.next_entry()? {
            if !key.starts_with(BLOCK_KEY) {
                continue;
            }
            if blocks.0.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("__metadata__: more than {MAX_TENSORS} block formats")));
            }
            if let Some(first) = blocks.0.get(&key).filter(|first| **first != value) {
                return Err(A::Error::custom(format!("__metadata__: {key} is both {first} and {value}")));
            }
            blocks.0.insert(key, value);
        }
        Ok(blocks)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = list.next_element()? {
            if shape.len() == MAX_DIMENSIONS {
                return Err(A::Error::custom(format!("shape of more than {MAX_DIMENSIONS} dimensions")));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}

/// Checks sizes and offsets: tensors follow each other without gaps and fill `data` bytes from `start`.
fn place(header: Header, start: u64, data: u64) -> Result<HashMap<String, Tensor>, String> {
    let Header { blocks, tensors: mut entries } = header;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut next = 0;
    let mut tensors = HashMap::with_capacity(entries.len());
    for (name, entry) in entries {
        if tensors.contains_key(&*name) {
            return Err(format!("tensor {name} is listed twice"));
        }
        let (begin, end) = entry.data_offsets;
        if begin != next || end < begin || end > data {
            return Err(format!(
                "tensor {name}: data_offsets [{begin}, {end}], but it should begin at {next} and end by {data}"
            ));
        }
        next = end;
        let blocks = blocks.0.get(&*format!("{BLOCK_KEY}{name}"));
        let (shape, format) = layout(entry, blocks).map_err(|problem| format!("tensor {name}: {problem}"))?;
        tensors.insert(name.into_owned(), Tensor { shape, format, offset: start + begin });
    }
    if next != data {
        return Err(format!("{} bytes after the last tensor", data - next));
    }
    Ok(tensors)
}

/// The shape and format of a tensor whose offsets are in order and in the file.
fn layout(entry: Entry, blocks: Option<&Cow<str>>) -> Result<(Vec<usize>, Format), String> {
    let Entry { dtype, shape: Shape(mut shape), data_offsets: (begin, end) } = entry;
    let (mut format, bits) = format(&dtype).ok_or_else(|| format!("unknown dtype {dtype}"))?;
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    // The width too: it may be absurd where there are no rows.
    let values = product(&shape).filter(|_| product(shape.get(1..).unwrap_or_default()).is_some());
    let values = values.ok_or_else(|| format!("shape {shape:?} is too large"))?;
    if (values as u64).checked_mul(bits) != Some((end - begin) * 8) {
        return Err(format!("{dtype} of shape {shape:?} does not take {} bytes", end - begin));
    }
    if let Some(name) = blocks {
        let blocks = BlockFormat::from_name(name).ok_or_else(|| format!("unknown block format {name}"))?;
        let width = row_values(&dtype, &shape, blocks);
        shape[1] = width.ok_or_else(|| format!("{dtype} of shape {shape:?} cannot hold {blocks} blocks"))?;
        format = Format::Blocks(blocks);
    }
    Ok((shape, format))
}

/// Values of a row of whole blocks, if a tensor can hold them.
fn row_values(dtype: &str, shape: &[usize], blocks: BlockFormat) -> Option<usize> {
    match *shape {
        [_, bytes] if dtype == "U8" && bytes > 0 && bytes % blocks.block_bytes() == 0 => {
            (bytes / blocks.block_bytes()).checked_mul(blocks.block_len())
        }
        _ => None,
    }
}

/// A format by its name, and the bits of a value.
fn format(dtype: &str) -> Option<(Format, u64)> {
    if let Some(plain) = Dtype::from_safetensors(dtype) {
        return Some((Format::Plain(plain), plain.bytes() as u64 * 8));
    }
    let (name, bits) = OTHER_DTYPES.into_iter().find(|(name, _)| *name == dtype)?;
    Some((Format::Other(name), bits))
}
