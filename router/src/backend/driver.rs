//! The task that owns the scheduler: carries out its calls, and lets requests come and go while a call is out.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Notify, oneshot};

use super::health::Health;
use crate::event::{EventResult, GenerationError};
use crate::metrics;
use crate::request::ValidRequest;
use crate::schedule::{Answer, Call, Message, Scheduler};
use crate::shards::{ShardError, Shards, Step};

/// What the task is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Queue a request and send its events here.
    Submit(Box<ValidRequest>, Sender<EventResult>),
    /// Try a real prefill when no step is out.
    Probe(oneshot::Sender<bool>),
    /// End, and say when.
    Stop(oneshot::Sender<()>),
}

/// The task's state.
pub(super) struct Driver {
    scheduler: Scheduler,
    shards: Shards,
    inbox: Receiver<Command>,
    /// Rung when a stream's reader has gone.
    dropped: Arc<Notify>,
    health: Arc<Health>,
    streams: HashMap<u64, Sender<EventResult>>,
    probes: Vec<oneshot::Sender<bool>>,
    speculates: bool,
    /// The last step and when it was answered, until the next one can begin.
    answered: Option<(&'static str, Instant)>,
}

/// Why the task ends: asked to, with whom to tell, or because nobody can ask any more.
struct End(Option<oneshot::Sender<()>>);

impl Driver {
    pub(super) fn new(
        scheduler: Scheduler,
        shards: Shards,
        inbox: Receiver<Command>,
        dropped: Arc<Notify>,
        health: Arc<Health>,
        speculate: u32,
    ) -> Self {
        let (streams, probes, answered) = (HashMap::new(), Vec::new(), None);
        Self {
            scheduler,
            shards,
            inbox,
            dropped,
            health,
            streams,
            probes,
            speculates: speculate > 0,
            answered,
        }
    }

    /// Runs until told to stop or until nobody is left to tell it anything.
    pub(super) async fn run(mut self) {
        let End(asked) = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        drop(self);
        if let Some(asked) = asked {
            // Nobody waits any more: just as well.
            let _ = asked.send(());
        }
    }

    /// One call to the shards, or one thing that happens while there is nothing to call.
    async fn turn(&mut self) -> Result<(), End> {
        if let Some(answer) = self.probes.pop() {
            return self.probe(answer).await;
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.handle(Some(command))?;
        }
        self.sweep();
        metrics::load(self.scheduler.load());
        let call = self.scheduler.next(Instant::now());
        if !matches!(call, Some(Call::Filter { .. } | Call::Clear { .. }))
            && let Some((method, since)) = self.answered.take()
        {
            metrics::filtered(method, since.elapsed());
        }
        match call {
            Some(call) => self.carry_out(call).await,
            None => tokio::select! {
                command = self.inbox.recv() => self.handle(command),
                // The next turn sweeps.
                () = self.dropped.notified() => Ok(()),
            },
        }
    }

    async fn probe(&mut self, answer: oneshot::Sender<bool>) -> Result<(), End> {
        let shards = self.shards.clone();
        let healthy = self.meanwhile(async move { shards.model_health().await }).await?;
        if let Err(error) = &healthy {
            tracing::error!("{error}");
        }
        self.health.set(healthy.is_ok());
        for waiting in self.probes.drain(..).chain([answer]) {
            // Too late for this one.
            let _ = waiting.send(healthy.is_ok());
        }
        Ok(())
    }

    async fn carry_out(&mut self, call: Call) -> Result<(), End> {
        let shards = self.shards.clone();
        match call {
            Call::Prefill { new, cached, interrupt } => {
                metrics::prefill(new.requests.len(), interrupt);
                self.step("prefill", async move { shards.prefill(new, cached).await }).await
            }
            Call::Decode { batches } => {
                self.step("decode", async move { shards.decode(batches).await }).await
            }
            Call::Filter { batch, keep } => {
                let filter = async move { shards.filter_batch(batch, &keep).await };
                let batch = self.meanwhile(filter).await?;
                self.take_in(batch.map(|batch| Answer { batch, ..Answer::default() }));
                Ok(())
            }
            Call::Clear { batch } => {
                let cleared = self.meanwhile(async move { shards.clear_cache(Some(batch)).await }).await?;
                self.take_in(cleared.map(|()| Answer::default()));
                Ok(())
            }
        }
    }

    async fn step(
        &mut self,
        method: &'static str,
        call: impl Future<Output = Result<Step, ShardError>>,
    ) -> Result<(), End> {
        let started = Instant::now();
        let step = self.meanwhile(call).await?;
        let timings = step.as_ref().ok().map(|step| step.timings);
        let answer = step.and_then(Step::into_answer);
        self.health.set(answer.is_ok());
        metrics::step(method, started.elapsed(), timings.filter(|_| answer.is_ok()));
        if let (true, Ok(answer)) = (self.speculates, &answer) {
            metrics::skipped(answer);
        }
        self.answered = answer.is_ok().then(|| (method, Instant::now()));
        self.take_in(answer);
        Ok(())
    }

    /// Waits for a call, and lets requests in and out of the queue meanwhile.
    async fn meanwhile<T>(&mut self, call: impl Future<Output = T>) -> Result<T, End> {
        let mut call = pin!(call);
        self.health.set_busy(true);
        let outcome = loop {
            tokio::select! {
                outcome = &mut call => break Ok(outcome),
                command = self.inbox.recv() => if let Err(end) = self.handle(command) {
                    break Err(end);
                },
                () = self.dropped.notified() => self.sweep(),
            }
            metrics::load(self.scheduler.load());
        };
        self.health.set_busy(false);
        outcome
    }

    fn handle(&mut self, command: Option<Command>) -> Result<(), End> {
        match command {
            Some(Command::Submit(_, stream)) if stream.is_closed() => {}
            Some(Command::Submit(request, stream)) => {
                let id = self.scheduler.arrived(*request, Instant::now());
                self.streams.insert(id, stream);
            }
            Some(Command::Probe(answer)) => self.probes.push(answer),
            Some(Command::Stop(done)) => return Err(End(Some(done))),
            None => return Err(End(None)),
        }
        Ok(())
    }

    /// Cancels the requests whose readers have gone.
    fn sweep(&mut self) {
        let gone = self.streams.iter().filter(|(_, stream)| stream.is_closed()).map(|(id, _)| *id);
        for id in gone.collect::<Vec<_>>() {
            self.cut_off(id);
        }
    }

    fn cut_off(&mut self, id: u64) {
        self.streams.remove(&id);
        self.scheduler.cancelled(id);
    }

    /// Hands the outcome of a call to the scheduler and its messages to the streams.
    fn take_in(&mut self, outcome: Result<Answer, ShardError>) {
        let messages = match outcome {
            Ok(answer) => self.scheduler.answered(answer, Instant::now()),
            Err(error) => {
                tracing::error!("{error}");
                self.scheduler.failed(&GenerationError::Shard(error.to_string()))
            }
        };
        for message in messages {
            self.deliver(message);
        }
    }

    /// A full channel is a reader that does not keep up, a closed one a reader that has gone: both are cut off.
    fn deliver(&mut self, message: Message) {
        let Some(stream) = self.streams.get(&message.id) else { return };
        let (last, failed) = (message.is_last(), message.event.is_err());
        let sent = stream.try_send(message.event).is_ok();
        if failed {
            metrics::failed();
        }
        if last {
            self.streams.remove(&message.id);
        }
        if !sent && !failed {
            self.cut_off(message.id);
        }
    }
}
