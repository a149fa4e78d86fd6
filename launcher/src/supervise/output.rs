//! What a shard writes: its log lines go on as they come, its errors are kept for its end.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::deadlines::LAST_OUTPUT;
use crate::logging::shard_line::ShardLine;

/// The most bytes of standard error that are kept; the first ones go.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// Readers of a shard's two streams.
#[derive(Debug)]
pub(super) struct Output {
    lines: JoinHandle<()>,
    errors: JoinHandle<String>,
}

impl Output {
    /// Starts to read. Each line of `stdout` is logged inside `span`.
    pub(super) fn follow(
        stdout: impl AsyncRead + Unpin + Send + 'static,
        stderr: impl AsyncRead + Unpin + Send + 'static,
        span: tracing::Span,
    ) -> Self {
        Self { lines: tokio::spawn(log_lines(stdout, span)), errors: tokio::spawn(keep_last(stderr)) }
    }

    /// The last of standard error, once both streams have ended. Empty when a grandchild keeps them open.
    pub(super) async fn finish(&mut self) -> String {
        let both = async { (&mut self.lines).await.and((&mut self.errors).await) };
        timeout(LAST_OUTPUT, both).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

async fn log_lines(stdout: impl AsyncRead + Unpin, span: tracing::Span) {
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        span.in_scope(|| ShardLine::log(String::from_utf8_lossy(&line).trim_end()));
        line.clear();
    }
}

async fn keep_last(stderr: impl AsyncRead + Unpin) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut kept = VecDeque::new();
    while let Ok(bytes) = stderr.fill_buf().await
        && !bytes.is_empty()
    {
        let read = bytes.len();
        kept.extend(bytes);
        stderr.consume(read);
        kept.drain(..kept.len().saturating_sub(MAX_KEPT_BYTES));
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_bytes_of_standard_error_are_kept() {
        let long = format!("{}end", "x".repeat(MAX_KEPT_BYTES));
        let mut output = Output::follow(&b""[..], std::io::Cursor::new(long), tracing::Span::none());
        let kept = output.finish().await;
        assert_eq!(kept.len(), MAX_KEPT_BYTES);
        assert!(kept.ends_with("xend"));
    }
}
