//! The reading end of one request.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::event::{EventResult, GenerationError, StreamEvent};
use crate::metrics;

/// The events of one request in order. Dropping it before the end cancels the request.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<EventResult>,
    dropped: Arc<Notify>,
    ended: bool,
}

impl Events {
    pub(super) fn new(receiver: mpsc::Receiver<EventResult>, dropped: Arc<Notify>) -> Self {
        Self { receiver, dropped, ended: false }
    }

    /// The next event; `None` after the token with `finish` or after an error. An engine that lets go of the stream
    /// without either makes it end with [`GenerationError::Incomplete`].
    pub async fn next(&mut self) -> Option<EventResult> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(GenerationError::Incomplete));
        self.ended = !matches!(event, Ok(StreamEvent::Prefill(_) | StreamEvent::Token { finish: None, .. }));
        Some(event)
    }

    /// Cancels the request, well: its reader has all it wants.
    pub fn close(mut self) {
        self.ended = true;
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.ended {
            metrics::dropped();
        }
        self.receiver.close();
        self.dropped.notify_one();
    }
}
