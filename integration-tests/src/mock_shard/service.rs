//! The rpcs of one mock shard.

use std::sync::{Arc, Mutex, MutexGuard};

use gristmill_proto::v3::text_generation_service_server::TextGenerationService;
use gristmill_proto::v3::*;
use tonic::{Request as Asked, Response, Status};

use super::batch::Batches;
use super::control::{Control, Message, Rpc};
use super::row::Row;
use super::{Options, check};

type Answer<T> = Result<Response<T>, Status>;

/// One shard.
pub(super) struct Service {
    rank: u64,
    options: Arc<Options>,
    urls: Vec<String>,
    control: Arc<Control>,
    batches: Mutex<Batches>,
}

impl Service {
    pub(super) fn new(rank: u64, options: Arc<Options>, urls: Vec<String>, control: Arc<Control>) -> Self {
        let batches = Mutex::new(Batches::new(rank, options.clone()));
        Self { rank, options, urls, control, batches }
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap()
    }

    fn blame(&self, wrong: Vec<String>) {
        for text in wrong {
            self.control.violation(format!("rank {}: {text}", self.rank));
        }
    }

    /// Higher ranks are slower.
    fn nanos(&self) -> u64 {
        1_000_000 * (self.rank + 1)
    }

    fn start(&self, batch: &Batch, cached: Option<&CachedBatch>) -> Result<(u64, Vec<Row>), Status> {
        let mut batches = self.batches();
        if batch.requests.is_empty() {
            return Err(Status::internal("Batch must have at least one request"));
        }
        self.blame(check::new_batch(&batches, &self.options, batch));
        let mut rows = Vec::new();
        if let Some(cached) = cached {
            self.blame(check::cached_batch(&batches, cached));
            if !self.options.chunking {
                self.blame(vec!["a prefill joins a batch without chunking".to_owned()]);
            }
            rows = batches.take(cached.id)?;
        }
        rows.extend(batch.requests.iter().cloned().map(Row::new));
        Ok((cached.map_or(batch.id, |cached| cached.id), rows))
    }

    fn join(&self, said: &[CachedBatch]) -> Result<(u64, Vec<Row>), Status> {
        let first = said.first().ok_or_else(|| Status::internal("Must provide at least one batch"))?;
        let mut batches = self.batches();
        let mut rows = Vec::new();
        for batch in said {
            self.blame(check::cached_batch(&batches, batch));
            rows.extend(batches.take(batch.id)?);
        }
        Ok((first.id, rows))
    }
}

#[tonic::async_trait]
impl TextGenerationService for Service {
    async fn info(&self, _: Asked<InfoRequest>) -> Answer<InfoResponse> {
        self.control.arrived(self.rank, Message::Empty(Rpc::Info)).await?;
        let ext = InfoExt { version: 1, features: vec!["ids".to_owned()], num_blocks: self.options.blocks };
        Ok(Response::new(InfoResponse {
            requires_padding: false,
            dtype: "mock".to_owned(),
            device_type: "cpu".to_owned(),
            window_size: None,
            speculate: 0,
            support_chunking: self.options.chunking,
            use_prefix_caching: false,
            attention_impl: "flashdecoding".to_owned(),
            block_size: self.options.block_size,
            ext: self.options.ours.then_some(ext),
        }))
    }

    async fn service_discovery(&self, _: Asked<ServiceDiscoveryRequest>) -> Answer<ServiceDiscoveryResponse> {
        self.control.arrived(self.rank, Message::Empty(Rpc::ServiceDiscovery)).await?;
        Ok(Response::new(ServiceDiscoveryResponse { urls: self.urls.clone() }))
    }

    async fn clear_cache(&self, asked: Asked<ClearCacheRequest>) -> Answer<ClearCacheResponse> {
        let id = asked.into_inner().id;
        self.control.arrived(self.rank, Message::ClearCache(id)).await?;
        match id {
            // An unknown batch is as good as cleared.
            Some(id) => drop(self.batches().take(id)),
            None => self.batches().drop_all(),
        }
        Ok(Response::new(ClearCacheResponse {}))
    }

    async fn filter_batch(&self, asked: Asked<FilterBatchRequest>) -> Answer<FilterBatchResponse> {
        let request = asked.into_inner();
        self.control.arrived(self.rank, Message::FilterBatch(request.clone())).await?;
        let mut batches = self.batches();
        self.blame(check::filter(&batches, request.batch_id, &request.request_ids));
        let mut rows = batches.take(request.batch_id)?;
        rows.retain(|row| request.request_ids.contains(&row.id()));
        Ok(Response::new(FilterBatchResponse { batch: Some(batches.keep(request.batch_id, rows)) }))
    }

    async fn warmup(&self, asked: Asked<WarmupRequest>) -> Answer<WarmupResponse> {
        let request = asked.into_inner();
        self.control.arrived(self.rank, Message::Warmup(Box::new(request.clone()))).await?;
        self.batches().max_prefill_tokens = request.max_prefill_tokens as usize;
        let total = request.max_total_tokens.unwrap_or(self.options.max_total_tokens);
        let input = request.max_input_tokens.unwrap_or(total - 1);
        let (max_input_tokens, max_total_tokens) = self.options.stubborn.unwrap_or((input, total));
        // As if higher ranks had less memory.
        let capacity = self.options.blocks * self.options.block_size - self.rank as u32;
        Ok(Response::new(WarmupResponse {
            max_supported_total_tokens: self.options.measured.then_some(capacity),
            max_input_tokens,
            max_total_tokens,
        }))
    }

    async fn prefill(&self, asked: Asked<PrefillRequest>) -> Answer<PrefillResponse> {
        let request = asked.into_inner();
        let arrived = self.control.arrived(self.rank, Message::Prefill(Box::new(request.clone()))).await;
        let (id, rows) = self.start(&request.batch.unwrap_or_default(), request.cached_batch.as_ref())?;
        // A step that fails has taken its batches already.
        arrived?;
        let (generations, batch) = self.batches().step(id, rows);
        Ok(Response::new(PrefillResponse {
            generations,
            batch,
            forward_ns: self.nanos(),
            decode_ns: self.nanos(),
            total_ns: 2 * self.nanos(),
            concat_ns: request.cached_batch.map(|_| self.nanos()),
        }))
    }

    async fn decode(&self, asked: Asked<DecodeRequest>) -> Answer<DecodeResponse> {
        let request = asked.into_inner();
        let arrived = self.control.arrived(self.rank, Message::Decode(request.clone())).await;
        let (id, rows) = self.join(&request.batches)?;
        arrived?;
        let (generations, batch) = self.batches().step(id, rows);
        Ok(Response::new(DecodeResponse {
            generations,
            batch,
            forward_ns: self.nanos(),
            decode_ns: self.nanos(),
            total_ns: 2 * self.nanos(),
            concat_ns: (request.batches.len() > 1).then(|| self.nanos()),
        }))
    }

    async fn health(&self, _: Asked<HealthRequest>) -> Answer<HealthResponse> {
        self.control.arrived(self.rank, Message::Empty(Rpc::Health)).await?;
        Ok(Response::new(HealthResponse {}))
    }
}
