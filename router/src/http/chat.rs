//! `POST /v1/chat/completions`.

mod answer;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::body::Body;
use super::failure::{Failure, OpenAiFailure};
use super::openai::pieces::Pieces;
use super::openai::{Identity, stream};
use super::{COMPUTE_TYPE, House, header_value};
use crate::request::Draft;
use answer::{ChatChunks, ChatCompletion, Shown};
pub(super) use request::ChatRequest;

/// Answers a chat, at once or as a stream.
pub(super) async fn completions(
    State(house): State<Arc<House>>,
    Body(request): Body<ChatRequest>,
) -> Result<Response, OpenAiFailure> {
    let slot = house.admit()?;
    request.check().map_err(Failure::counted)?;
    let shown = Shown::new(&request);
    let (streams, model) = (request.streams(), request.model.clone());
    let (messages, parameters) = request.split();
    let stops = parameters.stop.clone();
    let inputs = house.render(messages).await.map_err(Failure::counted)?;
    let draft = Draft { inputs, add_special_tokens: false, parameters };
    let pieces = Pieces::new(house.start(draft, slot).await?, &stops);
    if streams {
        let identity = Identity::new("chatcmpl", "chat.completion.chunk", &house, model);
        return Ok(stream::answer(&house, vec![pieces], ChatChunks::new(identity, shown)).await?);
    }
    let (piece, reason, timings) = pieces.complete().await?;
    let mut headers = timings.headers_with_compute_time();
    headers.insert(COMPUTE_TYPE, header_value(&house.config.compute_type));
    let identity = Identity::new("chatcmpl", "chat.completion", &house, model);
    Ok((headers, Json(ChatCompletion::new(identity, &shown, piece, reason, timings.into()))).into_response())
}
