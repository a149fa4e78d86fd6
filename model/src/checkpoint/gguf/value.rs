//! Metadata values.

use super::cursor::Cursor;
use super::{MAX_ARRAY_ENTRIES, MAX_STRING_BYTES};

/// The value of a metadata key. Widths of integers are not kept: no reader cares.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// An array of numbers or bools.
    Numbers(Numbers),
    /// An array of strings.
    Strings(Strings),
}

/// An array of numbers or bools of one type, as in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    scalar: Scalar,
    bytes: Vec<u8>,
}

/// An array of strings, joined: entry i ends at `ends[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

/// The types of fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl Value {
    /// Reads a type and a value of it.
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, String> {
        match cursor.u32()? {
            STRING => cursor.string(MAX_STRING_BYTES).map(Self::String),
            ARRAY => Self::read_array(cursor),
            number => {
                let scalar = Scalar::from_number(number)?;
                scalar.decode(&cursor.vec(scalar.bytes() as u64)?)
            }
        }
    }

    fn read_array(cursor: &mut Cursor) -> Result<Self, String> {
        let number = cursor.u32()?;
        let len = cursor.u64()?;
        match number {
            STRING => Strings::read(cursor, len).map(Self::Strings),
            ARRAY => Err("an array of arrays is not served".to_owned()),
            _ => Numbers::read(cursor, Scalar::from_number(number)?, len).map(Self::Numbers),
        }
    }

    /// What this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "an unsigned integer",
            Self::Signed(_) => "a signed integer",
            Self::F32(_) | Self::F64(_) => "a float",
            Self::Bool(_) => "a bool",
            Self::String(_) => "a string",
            Self::Numbers(_) => "an array of numbers",
            Self::Strings(_) => "an array of strings",
        }
    }
}

impl Numbers {
    fn read(cursor: &mut Cursor, scalar: Scalar, len: u64) -> Result<Self, String> {
        let width = scalar.bytes() as u64;
        cursor.check_count("array", len, MAX_ARRAY_ENTRIES, width)?;
        let numbers = Self { scalar, bytes: cursor.vec(len * width)? };
        numbers.values().try_for_each(|value| value.map(drop))?;
        Ok(numbers)
    }

    fn values(&self) -> impl Iterator<Item = Result<Value, String>> {
        self.bytes.chunks_exact(self.scalar.bytes()).map(|bytes| self.scalar.decode(bytes))
    }
}

impl Strings {
    fn read(cursor: &mut Cursor, len: u64) -> Result<Self, String> {
        cursor.check_count("array", len, MAX_ARRAY_ENTRIES, size_of::<u64>() as u64)?;
        let mut strings = Self { text: String::new(), ends: Vec::with_capacity(len as usize) };
        for entry in 0..len {
            let text = cursor.string(MAX_STRING_BYTES).map_err(|e| format!("entry {entry}: {e}"))?;
            strings.text.push_str(&text);
            strings.ends.push(strings.text.len());
        }
        Ok(strings)
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One entry.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        self.text.get(start..end)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl Scalar {
    fn from_number(number: u32) -> Result<Self, String> {
        Ok(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return Err(format!("unknown value type {number}")),
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Decodes exactly [`Self::bytes`] bytes.
    fn decode(self, bytes: &[u8]) -> Result<Value, String> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        let sign_shift = 64 - 8 * bytes.len();
        Ok(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Unsigned(bits),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => {
                Value::Signed(bits.cast_signed() << sign_shift >> sign_shift)
            }
            Self::F32 => Value::F32(f32::from_bits(bits as u32)),
            Self::F64 => Value::F64(f64::from_bits(bits)),
            Self::Bool if bits < 2 => Value::Bool(bits == 1),
            Self::Bool => return Err(format!("a bool of value {bits}")),
        })
    }
}

/// What a metadata value can be taken as.
pub trait FromValue<'a>: Sized {
    /// The expected type, for messages.
    const EXPECTED: &'static str;

    /// The value as this type; `None` when it is of another.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl FromValue<'_> for u64 {
    const EXPECTED: &'static str = "an unsigned integer";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl FromValue<'_> for i64 {
    const EXPECTED: &'static str = "an integer";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Unsigned(number) => Self::try_from(*number).ok(),
            Value::Signed(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a float";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(number) => Some(*number),
            Value::F64(number) => Some(*number as Self),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Strings {
    const EXPECTED: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Strings(strings) => Some(strings),
            _ => None,
        }
    }
}

impl FromValue<'_> for Vec<f32> {
    const EXPECTED: &'static str = "an array of floats";

    fn from_value(value: &Value) -> Option<Self> {
        entries(value)
    }
}

impl FromValue<'_> for Vec<i64> {
    const EXPECTED: &'static str = "an array of integers";

    fn from_value(value: &Value) -> Option<Self> {
        entries(value)
    }
}

fn entries<T: for<'a> FromValue<'a>>(value: &Value) -> Option<Vec<T>> {
    match value {
        Value::Numbers(numbers) => numbers.values().map(|value| T::from_value(&value.ok()?)).collect(),
        _ => None,
    }
}
