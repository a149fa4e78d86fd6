//! One shard's socket.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use gristmill_proto::v3;
use gristmill_proto::v3::text_generation_service_client::TextGenerationServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::ShardError;
use super::deadlines::{CONNECT, INFO, KEEP, PROBE, STEP, WARMUP};

/// Any size: a batch may carry many long prompts.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// A connection to one shard; each call has a deadline.
#[derive(Clone, Debug)]
pub(super) struct Client {
    stub: TextGenerationServiceClient<Channel>,
}

impl Client {
    pub(super) async fn connect(path: &Path) -> Result<Self, ShardError> {
        let path = path.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is only the authority that requests carry.
        let endpoint = Endpoint::from_static("http://[::]:50051");
        let connecting = timeout(CONNECT, endpoint.connect_with_connector(connector));
        let connected = connecting.await.map_err(|_| late("connect", CONNECT))?;
        let channel = connected.map_err(|error| ShardError::Connection(causes(&error)))?;
        let stub = TextGenerationServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { stub })
    }

    /// Urls of the group. Whatever error means that the peer is not one of us.
    pub(super) async fn service_discovery(mut self) -> Result<Vec<String>, ShardError> {
        let call = self.stub.service_discovery(v3::ServiceDiscoveryRequest {});
        let answer = within("ServiceDiscovery", INFO, call).await.map_err(|error| match error {
            ShardError::Generation(_) => {
                ShardError::Connection("Server does not support v3 interface".to_owned())
            }
            other => other,
        })?;
        Ok(answer.urls)
    }

    pub(super) async fn info(mut self) -> Result<v3::InfoResponse, ShardError> {
        within("Info", INFO, self.stub.info(v3::InfoRequest {})).await
    }

    pub(super) async fn health(mut self) -> Result<v3::HealthResponse, ShardError> {
        within("Health", PROBE, self.stub.health(v3::HealthRequest {})).await
    }

    pub(super) async fn clear_cache(mut self, id: Option<u64>) -> Result<(), ShardError> {
        let call = self.stub.clear_cache(v3::ClearCacheRequest { id });
        within("ClearCache", KEEP, call).await.map(drop)
    }

    pub(super) async fn filter_batch(
        mut self,
        batch_id: u64,
        request_ids: Vec<u64>,
    ) -> Result<Option<v3::CachedBatch>, ShardError> {
        let call = self.stub.filter_batch(v3::FilterBatchRequest { batch_id, request_ids });
        Ok(within("FilterBatch", KEEP, call).await?.batch)
    }

    pub(super) async fn warmup(
        mut self,
        request: v3::WarmupRequest,
    ) -> Result<v3::WarmupResponse, ShardError> {
        within("Warmup", WARMUP, self.stub.warmup(request)).await
    }

    pub(super) async fn prefill(
        mut self,
        request: v3::PrefillRequest,
    ) -> Result<v3::PrefillResponse, ShardError> {
        within("Prefill", STEP, self.stub.prefill(request)).await
    }

    pub(super) async fn probe(
        mut self,
        request: v3::PrefillRequest,
    ) -> Result<v3::PrefillResponse, ShardError> {
        within("Prefill", PROBE, self.stub.prefill(request)).await
    }

    pub(super) async fn decode(
        mut self,
        request: v3::DecodeRequest,
    ) -> Result<v3::DecodeResponse, ShardError> {
        within("Decode", STEP, self.stub.decode(request)).await
    }
}

async fn within<T>(
    rpc: &'static str,
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ShardError> {
    let answer = timeout(deadline, call).await.map_err(|_| late(rpc, deadline))?;
    Ok(answer?.into_inner())
}

fn late(rpc: &'static str, deadline: Duration) -> ShardError {
    ShardError::Late { rpc, deadline }
}

/// The error with what caused it: tonic alone says only "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
