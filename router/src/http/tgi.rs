//! TGI's own routes: `POST /`, `/generate` and `/generate_stream`.

mod answer;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::future::{self, FutureExt};
use futures::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderValue};

use super::body::Body;
use super::failure::Failure;
use super::generation::{Complete, Generation, Opening};
use super::{ACCEL_BUFFERING, COMPUTE_CHARACTERS, COMPUTE_TYPE, House, header_value, sse};
use crate::admission::Slot;
use crate::event::StreamEvent;
use crate::request::{Invalid, random};
use answer::{GenerateResponse, StreamResponse, View};
use request::CompatGenerateRequest;
pub(super) use request::GenerateRequest;

/// `POST /`: `/generate_stream` if `stream` is true, else `/generate` with its answer in an array. Without
/// `return_full_text` it answers with the prompt, as TGI does for models of unknown kind.
pub(super) async fn either(
    State(house): State<Arc<House>>,
    Body(request): Body<CompatGenerateRequest>,
) -> Result<Response, Failure> {
    let CompatGenerateRequest { inputs, mut parameters, stream } = request;
    parameters.return_full_text.get_or_insert(true);
    let request = GenerateRequest { inputs, parameters };
    if stream {
        return Ok(stream_of(house, request));
    }
    let (headers, answer) = answer_of(&house, request).await?;
    Ok((headers, Json([answer])).into_response())
}

/// `POST /generate`.
pub(super) async fn generate(
    State(house): State<Arc<House>>,
    Body(request): Body<GenerateRequest>,
) -> Result<(HeaderMap, Json<GenerateResponse>), Failure> {
    let (headers, answer) = answer_of(&house, request).await?;
    Ok((headers, Json(answer)))
}

/// `POST /generate_stream`.
pub(super) async fn generate_stream(
    State(house): State<Arc<House>>,
    Body(request): Body<GenerateRequest>,
) -> Response {
    stream_of(house, request)
}

async fn answer_of(
    house: &House,
    request: GenerateRequest,
) -> Result<(HeaderMap, GenerateResponse), Failure> {
    let slot = house.admit()?;
    let view = View::new(&request);
    let (best, others) = match request.parameters.best_of {
        Some(count) if count > 1 => best_of(house, request, count, slot).await?,
        _ => (house.start(request.into_draft(), slot).await?.complete().await?, None),
    };
    let mut headers = best.timings.headers_with_compute_time();
    headers.insert(COMPUTE_TYPE, header_value(&house.config.compute_type));
    Ok((headers, view.answer(best, others)))
}

/// Runs `count` generations with seeds of their own. The one with the highest mean log-probability comes first.
async fn best_of(
    house: &House,
    request: GenerateRequest,
    count: usize,
    slot: Slot,
) -> Result<(Complete, Option<Vec<Complete>>), Failure> {
    let invalid = |error: Invalid| Failure::from(error).counted();
    house.validator.check_best_of(count).map_err(invalid)?;
    let draft = request.into_draft();
    let slots = house.admit_more(slot, count)?;
    let openings: Vec<_> = slots.into_iter().map(|slot| Opening::new(&draft, slot)).collect();
    let mut request = house.validator.validate(draft).await.map_err(invalid)?;
    let running = openings.into_iter().map(|opening| {
        request.chooser.seed = random();
        opening.submit(&house.backend, request.clone()).complete()
    });
    let mut all = future::try_join_all(running).await?;
    let best = (0..all.len()).rev().max_by(|&a, &b| mean_logprob(&all[a]).total_cmp(&mean_logprob(&all[b])));
    let best = all.remove(best.ok_or(Failure::Incomplete)?);
    Ok((best, Some(all)))
}

fn mean_logprob(complete: &Complete) -> f32 {
    complete.tokens.iter().map(|token| token.logprob).sum::<f32>() / complete.tokens.len() as f32
}

/// Everything is checked after the answer has begun: failures are events of a stream with status 200.
fn stream_of(house: Arc<House>, request: GenerateRequest) -> Response {
    let headers = [
        (COMPUTE_TYPE, header_value(&house.config.compute_type)),
        (COMPUTE_CHARACTERS, header_value(&request.inputs.chars().count().to_string())),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    let events = async move {
        match start_stream(&house, request).await {
            Ok((generation, view)) => events(generation, view).left_stream(),
            Err(failure) => stream::iter([sse::tgi_failure(&failure)]).right_stream(),
        }
    };
    (headers, sse::answer(events.flatten_stream())).into_response()
}

async fn start_stream(house: &House, request: GenerateRequest) -> Result<(Generation, View), Failure> {
    let slot = house.admit()?;
    request.check_stream().map_err(|error| Failure::from(error).counted())?;
    let view = View::new(&request);
    Ok((house.start(request.into_draft(), slot).await?, view))
}

fn events(generation: Generation, view: View) -> impl Stream<Item = Event> {
    let start = (generation, view, 0);
    stream::unfold(start, |(mut generation, view, mut index)| async move {
        loop {
            let event = match generation.next().await? {
                Ok(StreamEvent::Prefill(_)) => continue,
                Ok(StreamEvent::Token { token, top, finish }) => {
                    index += 1;
                    let input_length = generation.timings.prompt_tokens;
                    sse::event(&StreamResponse::new(index, token, top, view.end(finish, input_length)))
                }
                Err(failure) => sse::tgi_failure(&failure.in_stream()),
            };
            return Some((event, (generation, view, index)));
        }
    })
}
