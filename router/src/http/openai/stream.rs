//! Several generations as one stream of chunks.

use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use http::HeaderValue;
use serde::Serialize;

use super::Usage;
use super::pieces::{Piece, Pieces};
use crate::http::failure::Failure;
use crate::http::timings::Timings;
use crate::http::{ACCEL_BUFFERING, COMPUTE_CHARACTERS, COMPUTE_TYPE, House, header_value, sse};

/// How a route words its chunks.
pub(in crate::http) trait Wording: Send + 'static {
    /// A chunk.
    type Chunk: Serialize + Send;

    /// The chunks for a piece of the answer to prompt `index`.
    fn piece(&mut self, index: u32, piece: Piece) -> Vec<Self::Chunk>;

    /// The last chunk, if the client asked for one with the usage.
    fn usage(&self, usage: Usage) -> Option<Self::Chunk>;
}

/// The answer that streams `generations`, one choice each.
///
/// # Errors
/// What comes first, if that is a failure.
pub(in crate::http) async fn answer(
    house: &House,
    generations: Vec<Pieces>,
    wording: impl Wording,
) -> Result<Response, Failure> {
    let characters: usize = generations.iter().map(Pieces::characters).sum();
    let headers = [
        (COMPUTE_TYPE, header_value(&house.config.compute_type)),
        (COMPUTE_CHARACTERS, header_value(&characters.to_string())),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, sse::openai_answer(chunks(generations, wording)).await?).into_response())
}

/// The chunks of all generations as they come. A failure of one ends the stream.
fn chunks<W: Wording>(generations: Vec<Pieces>, wording: W) -> impl Stream<Item = Result<W::Chunk, Failure>> {
    let numbered = |(index, pieces): (u32, Pieces)| pieces.stream().map(move |piece| (index, piece)).boxed();
    let merged = stream::select_all((0..).zip(generations).map(numbered));
    let state = Some((merged, wording, Timings::default()));
    let batches = stream::unfold(state, |state| async move {
        let (mut merged, mut wording, mut sum) = state?;
        Some(match merged.next().await {
            Some((index, Ok(piece))) => {
                if let Some((_, timings)) = piece.end {
                    sum = sum.plus(timings);
                }
                (
                    wording.piece(index, piece).into_iter().map(Ok).collect::<Vec<_>>(),
                    Some((merged, wording, sum)),
                )
            }
            Some((_, Err(failure))) => (vec![Err(failure)], None),
            None => (wording.usage(sum.into()).into_iter().map(Ok).collect(), None),
        })
    });
    batches.flat_map(stream::iter)
}
