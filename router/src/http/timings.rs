//! How long a generation took, as headers, metrics and log fields.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

/// Times and counts of one generation, or the sums over several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timings {
    /// From the first look at the request to its end.
    pub(super) total: Duration,
    /// Until it was queued.
    pub(super) validation: Duration,
    /// In the queue.
    pub(super) queue: Duration,
    /// From the first prefill to the end.
    pub(super) inference: Duration,
    /// Inference by generated tokens.
    pub(super) per_token: Duration,
    /// Characters of the prompt.
    pub(super) characters: usize,
    /// Tokens of the prompt.
    pub(super) prompt_tokens: u32,
    /// Tokens generated.
    pub(super) generated_tokens: u32,
}

impl Timings {
    /// The sums of `self` and `other`.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            validation: self.validation + other.validation,
            queue: self.queue + other.queue,
            inference: self.inference + other.inference,
            per_token: self.per_token + other.per_token,
            characters: self.characters + other.characters,
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            generated_tokens: self.generated_tokens.saturating_add(other.generated_tokens),
        }
    }

    /// The metrics of a generation that ended well.
    pub(super) fn record(&self) {
        metrics::counter!("tgi_request_success").increment(1);
        metrics::histogram!("tgi_request_duration").record(self.total.as_secs_f64());
        metrics::histogram!("tgi_request_validation_duration").record(self.validation.as_secs_f64());
        metrics::histogram!("tgi_request_queue_duration").record(self.queue.as_secs_f64());
        metrics::histogram!("tgi_request_inference_duration").record(self.inference.as_secs_f64());
        metrics::histogram!("tgi_request_mean_time_per_token_duration").record(self.per_token.as_secs_f64());
        metrics::histogram!("tgi_request_generated_tokens").record(f64::from(self.generated_tokens));
    }

    /// The fields of the request's span, and its log line.
    pub(super) fn log(&self, span: &Span, seed: Option<u64>) {
        span.record("total_time", format!("{:?}", self.total));
        span.record("validation_time", format!("{:?}", self.validation));
        span.record("queue_time", format!("{:?}", self.queue));
        span.record("inference_time", format!("{:?}", self.inference));
        span.record("time_per_token", format!("{:?}", self.per_token));
        span.record("seed", format!("{seed:?}"));
        tracing::info!(parent: span, "Success");
    }

    /// The headers of an answer that is not a stream: milliseconds and counts.
    pub(super) fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([
            number(super::COMPUTE_CHARACTERS, self.characters as u128),
            number(HeaderName::from_static("x-total-time"), self.total.as_millis()),
            number(HeaderName::from_static("x-validation-time"), self.validation.as_millis()),
            number(HeaderName::from_static("x-queue-time"), self.queue.as_millis()),
            number(HeaderName::from_static("x-inference-time"), self.inference.as_millis()),
            number(HeaderName::from_static("x-time-per-token"), self.per_token.as_millis()),
            number(HeaderName::from_static("x-prompt-tokens"), self.prompt_tokens.into()),
            number(HeaderName::from_static("x-generated-tokens"), self.generated_tokens.into()),
        ])
    }

    /// The same, and `x-compute-time` in seconds, for routes that answer one generation.
    pub(super) fn headers_with_compute_time(&self) -> HeaderMap {
        let mut headers = self.headers();
        let seconds = self.total.as_secs_f64().to_string();
        headers.insert("x-compute-time", super::header_value(&seconds));
        headers
    }
}

fn number(name: HeaderName, value: u128) -> (HeaderName, HeaderValue) {
    (name, super::header_value(&value.to_string()))
}
