//! Chat templates: messages to a prompt.

mod budget;
mod engine;
mod json;
mod methods;
mod shape;
mod source;

use std::path::Path;

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value};

use crate::TextError;
use crate::limits::{
    TEMPLATE_BYTES_PER_FUEL, TEMPLATE_FUEL, TEMPLATE_FUEL_PER_VALUE, TEMPLATE_OUTPUT_BYTES,
    TEMPLATE_OUTPUT_PER_BYTE,
};
use engine::Bounds;

/// A model's chat template, compiled. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct ChatTemplate {
    engine: Environment<'static>,
    special_tokens: Vec<(&'static str, String)>,
    uses_tools: bool,
}

/// What a template is rendered with, beside the model's special tokens.
#[derive(Clone, Copy, Debug)]
pub struct TemplateContext<'a> {
    /// `messages`: objects with `role` and `content`.
    pub messages: &'a [Value],
    /// `tools`; `none` in the template when absent.
    pub tools: Option<&'a Value>,
    /// Whether the prompt ends with the header of the answer.
    pub add_generation_prompt: bool,
    /// Further variables of the request (`chat_template_kwargs`). They cannot replace the ones above.
    pub extra: Option<&'a Map<String, Value>>,
}

impl ChatTemplate {
    /// Finds and compiles the chat template of a model folder; `None` if it has none.
    ///
    /// The first of these that has one counts: `tokenizer_config` if given (the user named it),
    /// `chat_template.jinja`, `chat_template.json`, `tokenizer_config.json`, `processor_config.json`. Special
    /// tokens come from `tokenizer_config` if given, else from `tokenizer_config.json`.
    ///
    /// # Errors
    /// Names the file that cannot be read, or whose template does not compile.
    pub fn load(folder: &Path, tokenizer_config: Option<&Path>) -> Result<Option<Self>, TextError> {
        let Some(source) = source::find(folder, tokenizer_config)? else { return Ok(None) };
        let compile = || {
            let engine = engine::compile(&source.template)?;
            let uses_tools = engine::uses(&engine, "tools")?;
            Ok((engine, uses_tools))
        };
        let (engine, uses_tools) =
            compile().map_err(|reason: String| TextError::file(&source.file, reason))?;
        Ok(Some(Self { engine, special_tokens: source.special_tokens, uses_tools }))
    }

    /// Whether the template shows the variable `tools`. If not, TGI writes the tools into the last message.
    pub fn uses_tools(&self) -> bool {
        self.uses_tools
    }

    /// The prompt for `context`. If the last message is the assistant's and a text, the prompt ends with that
    /// text, without white space at its end as in TGI, for the model to continue.
    ///
    /// # Errors
    /// [`TextError::Template`] with what the template raised, or the limit it ran into.
    pub fn render(&self, context: &TemplateContext) -> Result<String, TextError> {
        if let Some(marked) = context.continued() {
            let prompt = self.render_messages(&marked, context)?;
            if let Some((answered, _)) = prompt.rsplit_once(MARK) {
                return Ok(answered.trim_end().to_owned());
            }
        }
        self.render_messages(context.messages, context)
    }

    fn render_messages(&self, messages: &[Value], context: &TemplateContext) -> Result<String, TextError> {
        let Size { values, bytes } = context.size();
        let bounds = Bounds {
            fuel: TEMPLATE_FUEL
                + TEMPLATE_FUEL_PER_VALUE * values as u64
                + bytes as u64 / TEMPLATE_BYTES_PER_FUEL,
            output: TEMPLATE_OUTPUT_BYTES + TEMPLATE_OUTPUT_PER_BYTE * bytes,
        };
        engine::render(&self.engine, self.variables(messages, context), bounds).map_err(TextError::Template)
    }

    fn variables(&self, messages: &[Value], context: &TemplateContext) -> minijinja::Value {
        let none = minijinja::Value::from(());
        let extra = context.extra.into_iter().flatten();
        let extra = extra.map(|(name, value)| (name.as_str(), minijinja::Value::from(Serde(value))));
        let tokens =
            self.special_tokens.iter().map(|(name, token)| (*name, minijinja::Value::from(token.as_str())));
        let own = [
            ("documents", none.clone()),
            ("messages", minijinja::Value::from(Serde(messages))),
            ("tools", context.tools.map_or(none, |tools| minijinja::Value::from(Serde(tools)))),
            ("add_generation_prompt", context.add_generation_prompt.into()),
        ];
        minijinja::Value::from_pairs(tokens.chain(extra).chain(own))
    }
}

impl TemplateContext<'_> {
    fn size(&self) -> Size {
        let mut size = Size::default();
        self.messages.iter().chain(self.tools).for_each(|value| size.add(value));
        for (name, value) in self.extra.into_iter().flatten() {
            size.bytes += name.len();
            size.add(value);
        }
        size
    }

    /// The messages with [`MARK`] at their end, if the last one is an answer to be continued.
    fn continued(&self) -> Option<Vec<Value>> {
        let last =
            self.messages.last().filter(|last| last.get("role").is_some_and(|role| role == "assistant"))?;
        let content = last.get("content")?.as_str()?;
        let mut messages = self.messages.to_vec();
        *messages.last_mut()?.get_mut("content")? = format!("{content}{MARK}").into();
        Some(messages)
    }
}

/// Stands where an answer is to be continued, in characters that no template has. To look for the answer
/// itself, as TGI does, finds a short one in the template's own words.
const MARK: &str = "\u{F8F0}\u{F8F1}\u{F8F0}";

/// What a request brings; the bounds grow with it.
#[derive(Default)]
struct Size {
    /// JSON values, the ones within others included.
    values: usize,
    /// Bytes of text in them.
    bytes: usize,
}

impl Size {
    fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::String(text) => self.bytes += text.len(),
            Value::Array(list) => list.iter().for_each(|value| self.add(value)),
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                self.bytes += name.len();
                self.add(value);
            }),
            _ => self.bytes += 8,
        }
    }
}
