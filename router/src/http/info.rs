//! What the server says about itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::House;
use super::failure::Failure;

/// Answer of `/info`.
#[derive(Serialize)]
pub(super) struct Info {
    model_id: String,
    model_sha: Option<String>,
    model_pipeline_tag: Option<String>,
    max_concurrent_requests: usize,
    max_best_of: usize,
    max_stop_sequences: usize,
    max_input_tokens: usize,
    max_total_tokens: usize,
    validation_workers: usize,
    max_client_batch_size: usize,
    router: &'static str,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<String>,
}

/// Answer of `/v1/models`.
#[derive(Serialize)]
pub(super) struct Models {
    object: &'static str,
    data: [Model; 1],
}

#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

/// `GET /health`, `/ping` and `/`: 200 with an empty body while the shards can generate.
pub(super) async fn health(State(house): State<Arc<House>>) -> Result<(), Failure> {
    if house.backend.healthy().await { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// `GET /info`.
pub(super) async fn info(State(house): State<Arc<House>>) -> Json<Info> {
    let (config, limits) = (&house.config, house.backend.limits());
    Json(Info {
        model_id: config.model_id.clone(),
        model_sha: config.revision.clone(),
        model_pipeline_tag: None,
        max_concurrent_requests: config.max_concurrent_requests,
        max_best_of: config.max_best_of,
        max_stop_sequences: config.max_stop_sequences,
        max_input_tokens: limits.max_input_tokens,
        max_total_tokens: limits.max_total_tokens,
        validation_workers: config.validation_workers,
        max_client_batch_size: config.max_client_batch_size,
        router: "text-generation-router",
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: config.docker_label.clone(),
    })
}

/// `GET /v1/models`.
pub(super) async fn models(State(house): State<Arc<House>>) -> Json<Models> {
    let id = house.config.model_id.clone();
    Json(Models { object: "list", data: [Model { owned_by: id.clone(), id, object: "model", created: 0 }] })
}

/// `GET /metrics`, as Prometheus reads it.
pub(super) async fn metrics(State(house): State<Arc<House>>) -> String {
    house.metrics.render()
}
