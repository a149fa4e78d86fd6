//! `POST /v1/completions`.

mod answer;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future;

use super::body::Body;
use super::failure::{Failure, OpenAiFailure};
use super::openai::pieces::Pieces;
use super::openai::{Identity, stream};
use super::timings::Timings;
use super::{COMPUTE_TYPE, House, header_value};
use answer::{Choice, Completion, CompletionChunks};
use request::CompletionRequest;

/// The object that chunks and whole answers call themselves.
const OBJECT: &str = "text_completion";

/// Completes one prompt or several, at once or as a stream.
pub(super) async fn completions(
    State(house): State<Arc<House>>,
    Body(request): Body<CompletionRequest>,
) -> Result<Response, OpenAiFailure> {
    let first = house.admit()?;
    request.check(house.config.max_client_batch_size).map_err(Failure::counted)?;
    let slots = house.admit_more(first, request.prompts())?;
    let identity = Identity::new("cmpl", OBJECT, &house, request.model.clone());
    let (streams, include_usage, logprobs) = (request.streams(), request.include_usage(), request.logprobs);
    let (stops, drafts) = request.split();
    let started = drafts.zip(slots).map(|(draft, slot)| house.start(draft, slot));
    let generations = future::try_join_all(started).await?;
    let pieces: Vec<_> = generations.into_iter().map(|generation| Pieces::new(generation, &stops)).collect();
    if streams {
        let chunks = CompletionChunks::new(identity, logprobs, include_usage, pieces.len());
        return Ok(stream::answer(&house, pieces, chunks).await?);
    }
    let done = future::try_join_all(pieces.into_iter().map(Pieces::complete)).await?;
    let timings = done.iter().fold(Timings::default(), |sum, (_, _, timings)| sum.plus(*timings));
    let mut headers = timings.headers();
    headers.insert(COMPUTE_TYPE, header_value(&house.config.compute_type));
    let choices = (0..)
        .zip(done)
        .map(|(index, (piece, reason, _))| Choice::new(index, piece, Some(reason), logprobs, &mut 0));
    Ok((headers, Json(Completion::new(identity, choices.collect(), Some(timings.into())))).into_response())
}
