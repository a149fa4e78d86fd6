//! One generation from admission to its end: its slot, its events, its span and its metrics.

use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::failure::Failure;
use super::timings::Timings;
use crate::admission::Slot;
use crate::backend::{Backend, Events};
use crate::event::{Finish, GenerationError, PrefillToken, StreamEvent, Token};
use crate::request::{Draft, ValidRequest};

/// A generation that is admitted, but not yet valid.
pub(super) struct Opening {
    slot: Slot,
    span: Span,
    started: Instant,
    characters: usize,
}

impl Opening {
    pub(super) fn new(draft: &Draft, slot: Slot) -> Self {
        let span = tracing::info_span!(
            "generate",
            parameters = ?draft.parameters,
            total_time = Empty,
            validation_time = Empty,
            queue_time = Empty,
            inference_time = Empty,
            time_per_token = Empty,
            seed = Empty,
        );
        Self { slot, span, started: Instant::now(), characters: draft.inputs.chars().count() }
    }

    /// Queues the request.
    pub(super) fn submit(self, backend: &Backend, request: ValidRequest) -> Generation {
        let timings = Timings {
            validation: self.started.elapsed(),
            characters: self.characters,
            prompt_tokens: u32::try_from(request.ids.len()).unwrap_or(u32::MAX),
            ..Timings::default()
        };
        let events = Some(backend.submit(request));
        Generation { _slot: self.slot, span: self.span, started: self.started, events, timings }
    }
}

/// A running generation. Dropping it cancels it and frees its slot.
pub(super) struct Generation {
    _slot: Slot,
    span: Span,
    started: Instant,
    /// `None` once it has ended.
    events: Option<Events>,
    /// Complete once it has ended well.
    pub(super) timings: Timings,
}

/// A generation that ended well.
pub(super) struct Complete {
    pub(super) prefill: Vec<PrefillToken>,
    pub(super) tokens: Vec<Token>,
    /// One list for each token, or none at all if none were asked for.
    pub(super) top_tokens: Vec<Vec<Token>>,
    pub(super) finish: Finish,
    pub(super) timings: Timings,
}

impl Generation {
    /// The next event; `None` after the last, or after a failure.
    pub(super) async fn next(&mut self) -> Option<Result<StreamEvent, Failure>> {
        let event = self.events.as_mut()?.next().await.unwrap_or(Err(GenerationError::Incomplete));
        match &event {
            Ok(StreamEvent::Token { finish: Some(finish), .. }) => {
                self.succeed(finish.generated_tokens, finish.seed, finish.queued, finish.inference);
            }
            Ok(_) => {}
            Err(_) => self.events = None,
        }
        Some(event.map_err(|error| Failure::from(error).counted()))
    }

    /// Ends it before its last event, but well: the reader has all it wants after `generated_tokens`.
    pub(super) fn stop(&mut self, generated_tokens: u32) {
        if let Some(events) = self.events.take() {
            events.close();
            let since_queued = self.started.elapsed().saturating_sub(self.timings.validation);
            self.succeed(generated_tokens, None, Duration::ZERO, since_queued);
        }
    }

    fn succeed(&mut self, generated_tokens: u32, seed: Option<u64>, queue: Duration, inference: Duration) {
        self.events = None;
        self.timings.total = self.started.elapsed();
        self.timings.queue = queue;
        self.timings.inference = inference;
        self.timings.per_token = inference / generated_tokens.max(1);
        self.timings.generated_tokens = generated_tokens;
        self.timings.record();
        self.timings.log(&self.span, seed);
    }

    /// The whole generation at once.
    pub(super) async fn complete(mut self) -> Result<Complete, Failure> {
        let (mut prefill, mut tokens, mut top_tokens) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(event) = self.next().await {
            match event? {
                StreamEvent::Prefill(prompt) => prefill = prompt,
                StreamEvent::Token { token, top, finish } => {
                    tokens.push(token);
                    top_tokens.push(top);
                    let Some(finish) = finish else { continue };
                    if top_tokens.iter().all(Vec::is_empty) {
                        top_tokens.clear();
                    }
                    return Ok(Complete { prefill, tokens, top_tokens, finish, timings: self.timings });
                }
            }
        }
        Err(Failure::Incomplete)
    }
}
