//! Where work that blocks is done: tokenizing and rendering templates, away from the threads that serve connections.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A bounded number of blocking jobs at a time. Callers wait in order; admission bounds how many there are.
#[derive(Clone, Debug)]
pub struct Workers {
    free: Arc<Semaphore>,
}

/// A job panicked, or the runtime is ending.
#[derive(Debug, thiserror::Error)]
#[error("the worker failed: {0}")]
pub struct WorkerFailed(String);

impl Workers {
    /// At most `count` jobs at a time.
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Runs `job` when a worker is free. The job runs to its end even if the caller leaves.
    ///
    /// # Errors
    /// When the job panics.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerFailed> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|e| WorkerFailed(e.to_string()))?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        task.await.map_err(|error| WorkerFailed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_the_worker() {
        let workers = Workers::new(1);
        let failed: Result<(), _> = workers.run(|| panic!("bad input")).await;
        assert!(failed.is_err());
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn no_more_jobs_run_than_there_are_workers() {
        let workers = Workers::new(2);
        let places = Arc::new(Semaphore::new(2));
        let jobs = (0..16).map(|_| {
            let places = Arc::clone(&places);
            workers.run(move || {
                let _place = places.try_acquire().expect("a third job runs");
                std::thread::yield_now();
            })
        });
        for result in futures::future::join_all(jobs).await {
            result.unwrap();
        }
    }
}
