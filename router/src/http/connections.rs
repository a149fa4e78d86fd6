//! Connections: accepted up to a cap, with deadlines for headers and for writing, and drained when the server ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutWriter;

use super::limits;
use crate::admission::Admission;

/// Pause after an accept that failed, such as for want of file descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// How often it is looked whether somebody is still in.
const LOOK: Duration = Duration::from_millis(50);

/// Serves `routes` on `listener` until `stop` is ready; then accepts no more, and ends when every request that runs has
/// been answered. Connections without one do not hold it up.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    admission: Admission,
    stop: impl Future<Output = ()>,
) {
    let open = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let draining = GracefulShutdown::new();
    let builder = builder();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, permit) = tokio::select! {
            next = accept(&listener, &open) => match next {
                Some(next) => next,
                None => continue,
            },
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = builder.serve_connection(TokioIo::new(impatient(stream)), service).into_owned();
        let connection = draining.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!("connection: {error}");
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = draining.shutdown() => {}
        () = deserted(&admission) => {}
    }
}

/// Ready when nobody has been in for a while.
async fn deserted(admission: &Admission) {
    let mut since = Instant::now();
    while since.elapsed() < limits::FAREWELL {
        tokio::time::sleep(LOOK).await;
        if !admission.is_empty() {
            since = Instant::now();
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(limits::STREAMS_PER_CONNECTION);
    builder
}

/// A stream that fails when its other end takes nothing for too long.
fn impatient<S: AsyncWrite>(stream: S) -> Pin<Box<TimeoutWriter<S>>> {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(limits::STALL));
    Box::pin(stream)
}

async fn accept(listener: &TcpListener, open: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(open).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Without it a token may wait for the answer to the one before.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!("accept: {error}");
            tokio::time::sleep(RETRY).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_loses_its_connection() {
        let (ours, theirs) = duplex(8);
        let mut ours = impatient(ours);
        ours.write_all(b"12345678").await.unwrap();
        let start = Instant::now();
        assert_eq!(ours.write_all(b"9").await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), limits::STALL);
        drop(theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn the_house_is_deserted_some_time_after_the_last_has_left() {
        let admission = Admission::new(2);
        let slot = admission.take();
        let mut deserted = std::pin::pin!(deserted(&admission));
        let long = 10 * limits::FAREWELL;
        assert!(tokio::time::timeout(long, &mut deserted).await.is_err());
        drop(slot);
        let start = Instant::now();
        deserted.await;
        assert!(start.elapsed() >= limits::FAREWELL && start.elapsed() < long);
    }
}
