//! `config.json`: the only reader of it, with bounds on every number.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{CheckpointError, read_text};

/// Bytes of a configuration file.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Token ids in one field; the longest lists in use have a dozen.
const MAX_IDS: usize = 1024;
/// Characters of a wrong value that a message repeats.
const MAX_SHOWN_CHARS: usize = 80;

/// A configuration, or an object inside one, with accessors whose errors name file and field.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    prefix: String,
    fields: Map<String, Value>,
}

impl Config {
    /// Reads a file that holds one JSON object.
    ///
    /// # Errors
    /// It is missing, too large or not an object.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = read_text(path, MAX_CONFIG_BYTES)?;
        match serde_json::from_str(&text) {
            Ok(Fields(fields)) => Ok(Self { path: path.to_owned(), prefix: String::new(), fields }),
            Err(e) => Err(CheckpointError::new(path, e.to_string())),
        }
    }

    /// An error that names a field of this object.
    pub fn error(&self, field: &str, problem: impl fmt::Display) -> CheckpointError {
        CheckpointError::new(&self.path, format!("{}{field}: {problem}", self.prefix))
    }

    /// A field that is present and not null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// An object inside this one.
    pub fn object(&self, field: &str) -> Result<Option<Self>, CheckpointError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let prefix = format!("{}{field}.", self.prefix);
                Ok(Some(Self { path: self.path.clone(), prefix, fields: fields.clone() }))
            }
            Some(other) => Err(self.error(field, format!("{} is not an object", shown(other)))),
        }
    }

    /// A whole number within bounds, if present.
    pub fn count(
        &self,
        field: &str,
        bounds: RangeInclusive<usize>,
    ) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| bounds.contains(n)) {
            Some(count) => Ok(Some(count)),
            None => Err(self.error(
                field,
                format!("{} is not a whole number from {} to {}", shown(value), bounds.start(), bounds.end()),
            )),
        }
    }

    /// A whole number within bounds, which must be present.
    pub fn required(&self, field: &str, bounds: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        self.count(field, bounds)?.ok_or_else(|| self.error(field, "is missing"))
    }

    /// A finite number within bounds, if present.
    pub fn number(&self, field: &str, bounds: RangeInclusive<f64>) -> Result<Option<f64>, CheckpointError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_f64().filter(|n| bounds.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(
                field,
                format!("{} is not a number from {} to {}", shown(value), bounds.start(), bounds.end()),
            )),
        }
    }

    /// Text, if present.
    pub fn text(&self, field: &str) -> Result<Option<&str>, CheckpointError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(field, format!("{} is not text", shown(other)))),
        }
    }

    /// True or false, if present.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, CheckpointError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.error(field, format!("{} is not true or false", shown(other)))),
        }
    }

    /// One token id or a list of them, if present.
    pub fn ids(&self, field: &str) -> Result<Vec<u32>, CheckpointError> {
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|n| u32::try_from(n).ok());
            id.ok_or_else(|| self.error(field, format!("{} is not a token id", shown(value))))
        };
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() > MAX_IDS => {
                Err(self.error(field, format!("{} token ids, at most {MAX_IDS}", list.len())))
            }
            Some(Value::Array(list)) => list.iter().map(id).collect(),
            Some(one) => Ok(vec![id(one)?]),
        }
    }
}

/// A value for a message, cut when it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The fields of an object, read so that an error in a value names the field.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Map::new();
        while let Some(field) = map.next_key::<String>()? {
            let value = map.next_value().map_err(|e| A::Error::custom(format!("{field}: {e}")))?;
            fields.insert(field, value);
        }
        Ok(Fields(fields))
    }
}
