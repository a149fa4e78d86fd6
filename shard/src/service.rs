//! `generate.v3` on the engine: tokenizes, hands a command to the engine's thread, and awaits its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use gristmill_model::device::{BLOCK_SIZE, DeviceError};
use gristmill_proto::v3::text_generation_service_server::TextGenerationService;
use gristmill_proto::v3::*;
use gristmill_text::Tokenizer;
use tokio::sync::{Notify, oneshot};
use tonic::{Request as Call, Response, Status};

use crate::engine::{Answer, Engine};
use crate::error::CallError;
use crate::prompt::{Prompt, PromptRules};

/// Commands that wait for the engine. A router has one call under way, and a probe or two.
const COMMANDS: usize = 64;
/// Wait before a full queue is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Characters of a warmup's prompt that are used.
const WARMUP_CHARACTERS: usize = 128;

/// What this shard says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) info: InfoResponse,
    pub(crate) urls: Vec<String>,
    /// Prompt and output one request may have when the router does not say.
    pub(crate) max_total_tokens: usize,
    pub(crate) rules: PromptRules,
}

/// The service of one shard.
pub(crate) struct Service {
    facts: Facts,
    tokenizer: Arc<Tokenizer>,
    commands: SyncSender<Command>,
    lost: Arc<AtomicBool>,
}

type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// One call for the engine.
enum Command {
    Warmup { prompt: Box<Prompt>, max_prefill_tokens: usize, reply: Reply<()> },
    Prefill { id: u64, prompts: Vec<Prompt>, cached: Option<u64>, reply: Reply<Answer> },
    Decode { ids: Vec<u64>, reply: Reply<Answer> },
    Filter { id: u64, keep: Vec<u64>, reply: Reply<CachedBatch> },
    Clear { id: Option<u64>, reply: Reply<()> },
}

impl Service {
    /// Starts the engine's thread. `ended` is notified when the device is lost.
    pub(crate) fn start(
        facts: Facts,
        tokenizer: Arc<Tokenizer>,
        engine: Engine,
        ended: Arc<Notify>,
    ) -> std::io::Result<Self> {
        let (commands, receiver) = sync_channel(COMMANDS);
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            serve(engine, &receiver, &flag);
            flag.store(true, Ordering::Release);
            ended.notify_one();
        })?;
        Ok(Self { facts, tokenizer, commands, lost })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let mut command = command(reply);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => command = back,
                Err(TrySendError::Disconnected(_)) => return Err(CallError::Ended.into()),
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(answer.await.map_err(|_| CallError::Ended)??)
    }

    /// Checks and tokenizes requests off the async threads.
    async fn prompts(&self, requests: Vec<Request>) -> Result<Vec<Prompt>, Status> {
        let (tokenizer, rules) = (Arc::clone(&self.tokenizer), self.facts.rules);
        let prompts = tokio::task::spawn_blocking(move || {
            requests
                .into_iter()
                .map(|request| Prompt::new(request, &tokenizer, rules))
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(prompts.await.map_err(|e| Status::internal(e.to_string()))??)
    }

    fn limits(&self, request: &WarmupRequest) -> WarmupResponse {
        let blocks = self.facts.info.ext.as_ref().map_or(0, |ext| ext.num_blocks);
        let max_total_tokens = request.max_total_tokens.unwrap_or(self.facts.max_total_tokens as u32);
        WarmupResponse {
            max_supported_total_tokens: Some(blocks * BLOCK_SIZE as u32),
            max_input_tokens: request.max_input_tokens.unwrap_or(max_total_tokens.saturating_sub(1)),
            max_total_tokens,
        }
    }
}

/// A warmup runs one short step, for which the largest prompt need not be tokenized.
fn shortened(mut request: Request) -> Request {
    if !request.inputs.is_empty() {
        request.inputs = request.inputs.chars().take(WARMUP_CHARACTERS).collect();
        request.input_chunks = None;
    }
    request
}

/// Executes commands in order until the service is gone or the device lost.
fn serve(mut engine: Engine, commands: &Receiver<Command>, lost: &AtomicBool) {
    while let Ok(command) = commands.recv() {
        match command {
            Command::Warmup { prompt, max_prefill_tokens, reply } => {
                answer(reply, engine.warmup(*prompt, max_prefill_tokens), lost);
            }
            Command::Prefill { id, prompts, cached, reply } => {
                answer(reply, engine.prefill(id, prompts, cached), lost);
            }
            Command::Decode { ids, reply } => answer(reply, engine.decode(&ids), lost),
            Command::Filter { id, keep, reply } => answer(reply, engine.filter(id, &keep), lost),
            Command::Clear { id, reply } => {
                engine.clear(id);
                answer(reply, Ok(()), lost);
            }
        }
        if lost.load(Ordering::Acquire) {
            return;
        }
    }
}

/// A caller that has gone needs no answer.
fn answer<T>(reply: Reply<T>, result: Result<T, CallError>, lost: &AtomicBool) {
    if let Err(CallError::Device(DeviceError::Lost(reason))) = &result {
        tracing::error!("device lost: {reason}");
        lost.store(true, Ordering::Release);
    }
    drop(reply.send(result));
}

#[tonic::async_trait]
impl TextGenerationService for Service {
    async fn info(&self, _: Call<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(self.facts.info.clone()))
    }

    async fn service_discovery(
        &self,
        _: Call<ServiceDiscoveryRequest>,
    ) -> Result<Response<ServiceDiscoveryResponse>, Status> {
        Ok(Response::new(ServiceDiscoveryResponse { urls: self.facts.urls.clone() }))
    }

    async fn clear_cache(
        &self,
        call: Call<ClearCacheRequest>,
    ) -> Result<Response<ClearCacheResponse>, Status> {
        let id = call.into_inner().id;
        self.ask(|reply| Command::Clear { id, reply }).await?;
        Ok(Response::new(ClearCacheResponse {}))
    }

    async fn filter_batch(
        &self,
        call: Call<FilterBatchRequest>,
    ) -> Result<Response<FilterBatchResponse>, Status> {
        let FilterBatchRequest { batch_id: id, request_ids: keep } = call.into_inner();
        let batch = self.ask(|reply| Command::Filter { id, keep, reply }).await?;
        Ok(Response::new(FilterBatchResponse { batch: Some(batch) }))
    }

    async fn warmup(&self, call: Call<WarmupRequest>) -> Result<Response<WarmupResponse>, Status> {
        let request = call.into_inner();
        let limits = self.limits(&request);
        let first =
            request.batch.unwrap_or_default().requests.into_iter().next().ok_or(CallError::EmptyBatch)?;
        let prompts = self.prompts(vec![shortened(first)]).await?;
        let max_prefill_tokens = request.max_prefill_tokens as usize;
        let prompt = prompts.into_iter().next().ok_or(CallError::EmptyBatch)?;
        self.ask(|reply| Command::Warmup { prompt: Box::new(prompt), max_prefill_tokens, reply }).await?;
        Ok(Response::new(limits))
    }

    async fn prefill(&self, call: Call<PrefillRequest>) -> Result<Response<PrefillResponse>, Status> {
        let PrefillRequest { batch, cached_batch } = call.into_inner();
        let batch = batch.ok_or(CallError::EmptyBatch)?;
        let (id, cached) = (batch.id, cached_batch.map(|batch| batch.id));
        let prompts = self.prompts(batch.requests).await?;
        let Answer { generations, batch, forward_ns, decode_ns, total_ns, concat_ns } =
            self.ask(|reply| Command::Prefill { id, prompts, cached, reply }).await?;
        Ok(Response::new(PrefillResponse { generations, batch, forward_ns, decode_ns, total_ns, concat_ns }))
    }

    async fn decode(&self, call: Call<DecodeRequest>) -> Result<Response<DecodeResponse>, Status> {
        let ids = call.into_inner().batches.iter().map(|batch| batch.id).collect();
        let Answer { generations, batch, forward_ns, decode_ns, total_ns, concat_ns } =
            self.ask(|reply| Command::Decode { ids, reply }).await?;
        Ok(Response::new(DecodeResponse { generations, batch, forward_ns, decode_ns, total_ns, concat_ns }))
    }

    /// Never waits for the engine.
    async fn health(&self, _: Call<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        if self.lost.load(Ordering::Acquire) {
            Err(CallError::Ended.into())
        } else {
            Ok(Response::new(HealthResponse {}))
        }
    }
}
