//! The one mapping from what can go wrong to HTTP status, error type and text.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use thiserror::Error;

use crate::event::GenerationError;
use crate::request::Invalid;

/// Why a request is not answered. `Display` is TGI's text, byte for byte.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum Failure {
    #[error("Input validation error: {0}")]
    Invalid(#[from] Invalid),
    #[error("Model is overloaded")]
    Overloaded,
    #[error("Request failed during generation: {0}")]
    Generation(String),
    #[error("Incomplete generation")]
    Incomplete,
    #[error("Incomplete generation stream")]
    IncompleteStream,
    #[error("Template error: {0}")]
    Template(String),
    #[error("Tool error: {0}")]
    Tool(&'static str),
    #[error("Stream event serialization error")]
    Serialization,
    #[error("Suffix is not supported and can be achieved by preprocessing the prompt.")]
    Suffix,
    #[error("Number of prompts exceeds the maximum allowed batch size of {0}")]
    BatchSize(usize),
    #[error("unhealthy")]
    Unhealthy,
}

impl From<GenerationError> for Failure {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Shard(text) => Self::Generation(text),
            GenerationError::Incomplete => Self::Incomplete,
        }
    }
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Template(_) | Self::Tool(_) | Self::Suffix | Self::BatchSize(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Generation(_) => StatusCode::FAILED_DEPENDENCY,
            Self::Incomplete | Self::IncompleteStream | Self::Serialization => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// TGI's `error_type`.
    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "validation",
            Self::Overloaded => "overloaded",
            Self::Generation(_) => "generation",
            Self::Incomplete => "incomplete_generation",
            Self::IncompleteStream => "incomplete_generation_stream",
            Self::Template(_) => "template_error",
            Self::Tool(_) => "tool_error",
            Self::Serialization => "stream_serialization_error",
            Self::Suffix => "suffix not supported",
            Self::BatchSize(_) => "batch size exceeded",
            Self::Unhealthy => "healthcheck",
        }
    }

    /// The label of `tgi_request_failure`; none where the engine counts it, or where nothing was to be generated.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(_) | Self::Tool(_) | Self::Suffix | Self::BatchSize(_) => Some("validation"),
            Self::Overloaded => Some("overloaded"),
            Self::Incomplete | Self::IncompleteStream => Some("incomplete"),
            Self::Template(_) => Some("template"),
            Self::Generation(_) | Self::Serialization | Self::Unhealthy => None,
        }
    }

    /// Counts and logs the failure of a generation, once, where it arises.
    pub(crate) fn counted(self) -> Self {
        if let Some(label) = self.label() {
            metrics::counter!("tgi_request_failure", "err" => label).increment(1);
        }
        tracing::error!("{self}");
        self
    }

    /// How a stream words it.
    pub(crate) fn in_stream(self) -> Self {
        if self == Self::Incomplete { Self::IncompleteStream } else { self }
    }

    /// The JSON of TGI's routes.
    pub(crate) fn tgi(&self) -> TgiError {
        TgiError { error: self.to_string(), error_type: self.error_type() }
    }

    /// The JSON of `/v1`: OpenAI's object, with TGI's `error_type` beside it and its status inside for streams.
    pub(crate) fn openai(&self) -> OpenAiError {
        let kind = match self.status() {
            StatusCode::UNPROCESSABLE_ENTITY => "invalid_request_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            _ => "server_error",
        };
        let error = OpenAiErrorBody {
            message: self.to_string(),
            kind,
            param: self.param(),
            code: self.error_type(),
            http_status_code: self.status().as_u16(),
        };
        OpenAiError { error, error_type: self.error_type() }
    }

    fn param(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(invalid) => invalid.field(),
            Self::Tool(_) => Some("tools"),
            Self::Suffix => Some("suffix"),
            Self::BatchSize(_) => Some("prompt"),
            _ => None,
        }
    }
}

/// A failure on TGI's routes.
#[derive(Debug, Serialize)]
pub(crate) struct TgiError {
    error: String,
    error_type: &'static str,
}

/// A failure on `/v1`.
#[derive(Debug, Serialize)]
pub(crate) struct OpenAiError {
    error: OpenAiErrorBody,
    error_type: &'static str,
}

#[derive(Debug, Serialize)]
struct OpenAiErrorBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: &'static str,
    http_status_code: u16,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status(), Json(self.tgi())).into_response()
    }
}

/// A failure answered on `/v1`.
#[derive(Debug)]
pub(crate) struct OpenAiFailure(pub(crate) Failure);

impl<T: Into<Failure>> From<T> for OpenAiFailure {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for OpenAiFailure {
    fn into_response(self) -> Response {
        (self.0.status(), Json(self.0.openai())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    /// Every failure that a text model's HTTP routes know, as TGI words it.
    #[test]
    fn every_failure_has_tgis_status_type_and_text() {
        let rows = [
            (
                Failure::Invalid(Invalid::EmptyInput),
                422,
                "validation",
                "Input validation error: `inputs` cannot be empty",
            ),
            (Failure::Overloaded, 429, "overloaded", "Model is overloaded"),
            (Failure::Generation("x".into()), 424, "generation", "Request failed during generation: x"),
            (Failure::Incomplete, 500, "incomplete_generation", "Incomplete generation"),
            (Failure::IncompleteStream, 500, "incomplete_generation_stream", "Incomplete generation stream"),
            (Failure::Template("x".into()), 422, "template_error", "Template error: x"),
            (Failure::Tool("x"), 422, "tool_error", "Tool error: x"),
            (Failure::Serialization, 500, "stream_serialization_error", "Stream event serialization error"),
            (
                Failure::Suffix,
                422,
                "suffix not supported",
                "Suffix is not supported and can be achieved by preprocessing the prompt.",
            ),
            (
                Failure::BatchSize(4),
                422,
                "batch size exceeded",
                "Number of prompts exceeds the maximum allowed batch size of 4",
            ),
            (Failure::Unhealthy, 503, "healthcheck", "unhealthy"),
        ];
        for (failure, status, error_type, text) in rows {
            assert_eq!(failure.status().as_u16(), status, "{failure}");
            assert_eq!(to_value(failure.tgi()).unwrap(), json!({"error": text, "error_type": error_type}));
        }
    }

    #[test]
    fn openai_clients_find_their_fields_and_tgi_clients_theirs() {
        let failure = Failure::Invalid(Invalid::NotPositive("temperature"));
        let message = "Input validation error: `temperature` must be strictly positive";
        let expected = json!({
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "validation",
                "http_status_code": 422,
            },
            "error_type": "validation",
        });
        assert_eq!(to_value(failure.openai()).unwrap(), expected);
    }
}
