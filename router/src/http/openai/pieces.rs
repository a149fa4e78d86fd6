//! One generation of a `/v1` route, piece by piece.

use futures::stream::{self, Stream};

use super::trim::{Scored, Trimmed, Trimmer};
use crate::event::StreamEvent;
use crate::http::failure::Failure;
use crate::http::generation::Generation;
use crate::http::timings::Timings;

/// The pieces of one generation in order.
pub(in crate::http) struct Pieces {
    generation: Generation,
    trimmer: Trimmer,
    /// Tokens that have come.
    generated: u32,
}

/// What one token brought. Empty while its text is held back.
#[derive(Default)]
pub(in crate::http) struct Piece {
    pub(in crate::http) text: String,
    pub(in crate::http) tokens: Vec<Scored>,
    /// OpenAI's `finish_reason` and the times, on the last piece.
    pub(in crate::http) end: Option<(&'static str, Timings)>,
}

impl Pieces {
    /// Of `generation`, whose client gave these stop strings.
    pub(in crate::http) fn new(generation: Generation, stops: &[String]) -> Self {
        Self { generation, trimmer: Trimmer::new(stops), generated: 0 }
    }

    /// Characters of the prompt.
    pub(in crate::http) fn characters(&self) -> usize {
        self.generation.timings.characters
    }

    /// The pieces as a stream that ends after the last one or after a failure.
    pub(in crate::http) fn stream(self) -> impl Stream<Item = Result<Piece, Failure>> {
        stream::unfold(self, |mut pieces| async move { Some((pieces.next().await?, pieces)) })
    }

    /// All of it in one piece, with its end.
    pub(in crate::http) async fn complete(mut self) -> Result<(Piece, &'static str, Timings), Failure> {
        let mut whole = Piece::default();
        while let Some(piece) = self.next().await {
            let Piece { text, tokens, end } = piece?;
            whole.text.push_str(&text);
            whole.tokens.extend(tokens);
            if let Some((reason, timings)) = end {
                return Ok((whole, reason, timings));
            }
        }
        Err(Failure::Incomplete)
    }

    async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        loop {
            let (token, top, finish) = match self.generation.next().await? {
                Ok(StreamEvent::Token { token, top, finish }) => (token, top, finish),
                Ok(StreamEvent::Prefill(_)) => continue,
                Err(failure) => return Some(Err(failure)),
            };
            self.generated += 1;
            let Trimmed { text, tokens, reason } = self.trimmer.push(token, top, finish.as_ref());
            if reason.is_some() {
                self.generation.stop(self.generated);
            }
            return Some(Ok(Piece {
                text,
                tokens,
                end: reason.map(|reason| (reason, self.generation.timings)),
            }));
        }
    }
}
