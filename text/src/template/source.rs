//! Where a model folder keeps its chat template.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::TextError;
use crate::config::{Config, read_bounded};
use crate::limits::MAX_TEMPLATE_BYTES;

/// Special tokens that templates may name.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A chat template's text, and where it was found.
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) template: String,
    pub(super) special_tokens: Vec<(&'static str, String)>,
}

/// Finds the template; see [`super::ChatTemplate::load`] for the order.
pub(super) fn find(folder: &Path, tokenizer_config: Option<&Path>) -> Result<Option<Source>, TextError> {
    let config = match tokenizer_config {
        Some(file) => Some(Config::load(file)?.ok_or_else(|| TextError::file(file, "file not found"))?),
        None => Config::load(&folder.join("tokenizer_config.json"))?,
    };
    let special_tokens = config.as_ref().map(special_tokens).unwrap_or_default();
    let of_config = || config.as_ref().map_or(Ok(None), of_json);
    let places: [&dyn Fn() -> Result<Found, TextError>; 5] = [
        &|| if tokenizer_config.is_some() { of_config() } else { Ok(None) },
        &|| of_jinja(folder),
        &|| of_file(folder, "chat_template.json"),
        &of_config,
        &|| of_file(folder, "processor_config.json"),
    ];
    for place in places {
        if let Some((file, template)) = place()? {
            return Ok(Some(Source { file, template, special_tokens }));
        }
    }
    Ok(None)
}

/// A template and its file.
type Found = Option<(PathBuf, String)>;

fn of_jinja(folder: &Path) -> Result<Found, TextError> {
    let file = folder.join("chat_template.jinja");
    let Some(bytes) = read_bounded(&file, MAX_TEMPLATE_BYTES)? else { return Ok(None) };
    let template = String::from_utf8(bytes).map_err(|error| TextError::file(&file, error))?;
    Ok(Some((file, template)))
}

fn of_file(folder: &Path, name: &str) -> Result<Found, TextError> {
    Config::load(&folder.join(name))?.as_ref().map_or(Ok(None), of_json)
}

/// The field `chat_template`: a string, or a list of named ones of which `default` counts.
fn of_json(config: &Config) -> Result<Found, TextError> {
    let template = match config.get("chat_template") {
        None => return Ok(None),
        Some(Value::String(template)) => template,
        Some(Value::Array(list)) => match default_of(list) {
            Some(template) => template,
            None => return Ok(None),
        },
        Some(_) => {
            return Err(TextError::file(
                config.file(),
                "chat_template: neither a string nor a list of templates",
            ));
        }
    };
    if template.len() as u64 > MAX_TEMPLATE_BYTES {
        let reason = format_args!("chat_template: larger than {MAX_TEMPLATE_BYTES} bytes");
        return Err(TextError::file(config.file(), reason));
    }
    Ok(Some((config.file().to_path_buf(), template.clone())))
}

fn default_of(list: &[Value]) -> Option<&String> {
    let entry = list.iter().find(|entry| entry.get("name").is_some_and(|name| name == "default"))?;
    match entry.get("template") {
        Some(Value::String(template)) => Some(template),
        _ => None,
    }
}

fn special_tokens(config: &Config) -> Vec<(&'static str, String)> {
    let token = |name| Some((name, config.token(name)?.to_owned()));
    SPECIAL_TOKENS.into_iter().filter_map(token).collect()
}
