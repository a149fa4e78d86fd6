//! What `/v1/chat/completions` and `/chat_tokenize` take.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::failure::Failure;
use crate::http::openai::{NotYet, Stop, StreamOptions, sampling};
use crate::request::{Invalid, Parameters};

/// Body of a chat. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct ChatRequest {
    pub(super) model: Option<String>,
    messages: Vec<Message>,
    frequency_penalty: Option<f32>,
    logit_bias: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    n: Option<u32>,
    presence_penalty: Option<f32>,
    stop: Option<Stop>,
    stream: Option<bool>,
    seed: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
    stream_options: Option<StreamOptions>,
}

impl ChatRequest {
    /// Refuses what cannot be honoured.
    pub(in crate::http) fn check(&self) -> Result<(), Failure> {
        let tools = self.wants_tools();
        if tools && self.wants_format() {
            return Err(Failure::Tool("Grammar and tools are mutually exclusive"));
        }
        if tools {
            return Err(Failure::Tool("tools are not yet supported"));
        }
        if self.messages.iter().any(Message::has_image) {
            return Err(Invalid::Modality("image").into());
        }
        let fields = NotYet {
            n: self.n,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.as_ref(),
        };
        Ok(fields.check()?)
    }

    fn wants_tools(&self) -> bool {
        let chosen = self.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        chosen && self.tools.as_ref().is_some_and(|tools| !tools.is_empty())
    }

    /// Whether the answer is to have a form; plain text is none.
    fn wants_format(&self) -> bool {
        self.response_format
            .as_ref()
            .is_some_and(|format| format.get("type").is_none_or(|kind| kind != "text"))
    }

    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(super) fn logprobs(&self) -> bool {
        self.logprobs.unwrap_or(false)
    }

    pub(super) fn include_usage(&self) -> bool {
        StreamOptions::include_usage(self.stream_options)
    }

    /// How many of the most likely tokens are shown at each place.
    pub(super) fn top_logprobs(&self) -> usize {
        self.top_logprobs.map_or(0, |count| count as usize)
    }

    /// The messages as the template sees them, and the parameters.
    pub(in crate::http) fn split(self) -> (Vec<Value>, Parameters) {
        let grammar = self.wants_format();
        let messages = self.messages.into_iter().map(Message::into_value).collect();
        let parameters = Parameters {
            frequency_penalty: self.frequency_penalty,
            max_new_tokens: self.max_completion_tokens.or(self.max_tokens),
            stop: self.stop.map(Stop::strings).unwrap_or_default(),
            seed: self.seed,
            top_n_tokens: self.top_logprobs,
            grammar,
            ..sampling(self.temperature, self.top_p)
        };
        (messages, parameters)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawMessage")]
struct Message {
    role: String,
    content: Content,
    name: Option<String>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct RawMessage {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<Value>>,
    name: Option<String>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Chunks(Vec<Chunk>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Chunk {
    Text { text: String },
    ImageUrl {},
}

impl TryFrom<RawMessage> for Message {
    type Error = &'static str;

    /// Tool calls of the assistant become the content of a message that has none.
    fn try_from(raw: RawMessage) -> Result<Self, Self::Error> {
        let RawMessage { role, content, tool_calls, name, tool_call_id } = raw;
        let content =
            content.or_else(|| tool_calls.map(|calls| Content::Text(Value::Array(calls).to_string())));
        let content = content.ok_or("data did not match any variant of untagged enum MessageBody")?;
        Ok(Self { role, content, name, tool_call_id })
    }
}

impl Message {
    fn has_image(&self) -> bool {
        matches!(&self.content, Content::Chunks(chunks) if chunks.iter().any(|c| matches!(c, Chunk::ImageUrl {})))
    }

    fn into_value(self) -> Value {
        let content = match self.content {
            Content::Text(text) => text,
            Content::Chunks(chunks) => chunks.into_iter().filter_map(Chunk::text).collect(),
        };
        let mut message = json!({"role": self.role, "content": content});
        for (field, value) in [("name", self.name), ("tool_call_id", self.tool_call_id)] {
            if let Some(value) = value {
                message[field] = Value::String(value);
            }
        }
        message
    }
}

impl Chunk {
    fn text(self) -> Option<String> {
        match self {
            Self::Text { text } => Some(text),
            Self::ImageUrl {} => None,
        }
    }
}
