//! `POST /tokenize` and `POST /chat_tokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gristmill_text::Encoding;
use serde::Serialize;

use super::House;
use super::body::Body;
use super::chat::ChatRequest;
use super::failure::Failure;
use super::tgi::GenerateRequest;

/// A token and the bytes of the text it stands for.
#[derive(Serialize)]
pub(super) struct SimpleToken {
    id: u32,
    text: String,
    start: usize,
    stop: usize,
}

/// Answer of `/chat_tokenize`.
#[derive(Serialize)]
pub(super) struct ChatTokens {
    tokenize_response: Vec<SimpleToken>,
    templated_text: String,
}

/// The tokens of `inputs`; `parameters` are ignored.
pub(super) async fn text(
    State(house): State<Arc<House>>,
    Body(request): Body<GenerateRequest>,
) -> Result<Json<Vec<SimpleToken>>, Failure> {
    let _slot = house.admission.take().ok_or(Failure::Overloaded)?;
    let (inputs, encoding) = house.validator.tokenize(request.inputs, true).await?;
    Ok(Json(tokens(&inputs, &encoding)))
}

/// The prompt made of a chat, and its tokens.
pub(super) async fn chat(
    State(house): State<Arc<House>>,
    Body(request): Body<ChatRequest>,
) -> Result<Json<ChatTokens>, Failure> {
    let _slot = house.admission.take().ok_or(Failure::Overloaded)?;
    request.check()?;
    let (messages, _) = request.split();
    let prompt = house.render(messages).await?;
    let (templated_text, encoding) = house.validator.tokenize(prompt, false).await?;
    Ok(Json(ChatTokens { tokenize_response: tokens(&templated_text, &encoding), templated_text }))
}

fn tokens(text: &str, encoding: &Encoding) -> Vec<SimpleToken> {
    let places = encoding.ids.iter().zip(&encoding.offsets).enumerate();
    places
        .map(|(index, (&id, &(start, stop)))| SimpleToken {
            id,
            text: encoding.text(text, index),
            start,
            stop,
        })
        .collect()
}
