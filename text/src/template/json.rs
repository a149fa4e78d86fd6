//! The filter `tojson` as transformers defines it: Python's `json.dumps` without ASCII escapes, and no HTML
//! escapes.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::budget;
use crate::limits::MAX_JSON_DEPTH;

/// `value|tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands over keyword arguments by value")]
pub(super) fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    args: Kwargs,
) -> Result<String, Error> {
    let indent = args.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none());
    let separators = args.get::<Option<Vec<String>>>("separators")?.unwrap_or_default();
    let comma = if indent.is_some() { "," } else { ", " };
    let mut writer = Writer {
        out: String::new(),
        state,
        indent: indent.map(indentation).transpose()?,
        comma: separators.first().map_or(comma, String::as_str).to_owned(),
        colon: separators.get(1).map_or(": ", String::as_str).to_owned(),
        ensure_ascii: ensure_ascii.or(args.get("ensure_ascii")?).unwrap_or(false),
        sort_keys: args.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    args.assert_all_used()?;
    writer.value(value, 0)?;
    budget::spend_written(state, writer.out.len())?;
    Ok(writer.out)
}

/// Spaces by number, or the text itself.
fn indentation(indent: Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    Ok(" ".repeat(u8::try_from(indent)?.into()))
}

struct Writer<'a> {
    out: String,
    state: &'a State<'a, 'a>,
    indent: Option<String>,
    comma: String,
    colon: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_JSON_DEPTH {
            return Err(Error::new(ErrorKind::BadSerialization, "tojson: value nested too deep"));
        }
        budget::check_written(self.state, self.out.len())?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            ValueKind::Map => self.map(value, depth),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            _ => scalar(value).map(|text| self.out.push_str(&text)),
        }
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.before_item(empty, depth + 1);
            self.value(&item, depth + 1)?;
            empty = false;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut empty = true;
        for (name, key) in self.keys(value)? {
            self.before_item(empty, depth + 1);
            self.string(&name)?;
            self.out.push_str(&self.colon);
            self.value(&value.get_item(&key)?, depth + 1)?;
            empty = false;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    fn keys(&self, map: &Value) -> Result<Vec<(String, Value)>, Error> {
        let mut keys = Vec::new();
        for key in map.try_iter()? {
            let name =
                if let Some(name) = key.as_str() { name.to_owned() } else { scalar(&key)?.into_owned() };
            keys.push((name, key));
        }
        if self.sort_keys {
            keys.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Ok(keys)
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        budget::check_written(self.state, self.out.len() + text.len())?;
        let quoted = serde_json::to_string(text);
        let quoted = quoted.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
        if self.ensure_ascii {
            quoted.chars().for_each(|c| push_ascii(&mut self.out, c));
        } else {
            self.out.push_str(&quoted);
        }
        Ok(())
    }

    fn before_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.comma);
        }
        self.line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }
}

fn push_ascii(out: &mut String, c: char) {
    if c.is_ascii() {
        return out.push(c);
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

fn scalar(value: &Value) -> Result<Cow<'static, str>, Error> {
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => "null".into(),
        ValueKind::Bool => if value.is_true() { "true" } else { "false" }.into(),
        ValueKind::Number if value.is_integer() => value.to_string().into(),
        ValueKind::Number => float(f64::try_from(value.clone())?).into(),
        kind => {
            return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is not JSON serializable")));
        }
    })
}

/// A float as Python's `repr` spells it: the same digits as here, but another exponent.
fn float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{value:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}
