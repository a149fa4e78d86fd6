//! Framing of event streams: `data: `, one line of JSON, an empty line; a comment line when there is nothing to say.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;

use super::failure::Failure;
use super::limits;

/// One event.
pub(super) fn event(data: &impl Serialize) -> Event {
    Event::default().json_data(data).unwrap_or_else(|error| {
        tracing::error!("{error}");
        tgi_failure(&Failure::Serialization)
    })
}

/// A failure in a stream of TGI's routes.
pub(super) fn tgi_failure(failure: &Failure) -> Event {
    text(serde_json::to_string(&failure.tgi()).unwrap_or_default())
}

/// The answer that sends `events` as the client reads them.
pub(super) fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(limits::KEEP_ALIVE);
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response()
}

/// The answer of a `/v1` stream: `[DONE]` at its end, also after a failure.
///
/// # Errors
/// What comes first, if that is a failure: nothing has been sent then, so it can still be the status of the answer.
pub(super) async fn openai_answer<T: Serialize + Send + 'static>(
    chunks: impl Stream<Item = Result<T, Failure>> + Send + 'static,
) -> Result<Response, Failure> {
    let mut chunks = Box::pin(chunks);
    let first = chunks.next().await.transpose()?;
    let later = chunks.map(|chunk| match chunk {
        Ok(chunk) => event(&chunk),
        Err(failure) => event(&failure.openai()),
    });
    let first = stream::iter(first.map(|chunk| event(&chunk)));
    Ok(answer(first.chain(later).chain(stream::iter([text("[DONE]".to_owned())]))))
}

fn text(data: String) -> Event {
    Event::default().data(data)
}
