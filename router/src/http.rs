//! The HTTP dialects. Each only converts: to a [`crate::request::Draft`], and back from [`crate::event::StreamEvent`].
//!
//! | File | Noun |
//! |---|---|
//! | `tgi.rs` | `POST /`, `/generate`, `/generate_stream` with TGI's meaning |
//! | `chat.rs`, `completions.rs` | `/v1/*` with OpenAI's meaning; `openai.rs` is what both share |
//! | `tokenize.rs` | `/tokenize`, `/chat_tokenize` |
//! | `info.rs` | health, model and metrics |
//! | `generation.rs` | one running generation with its slot, span and metrics |
//! | `failure.rs` | the one mapping from what went wrong to status, type and text |
//! | `body.rs`, `sse.rs`, `auth.rs` | reading bodies, framing streams, checking keys |
//! | `connections.rs`, `limits.rs` | accepting and draining connections, and the deadlines |

mod auth;
mod body;
mod chat;
mod completions;
pub(crate) mod connections;
mod failure;
mod generation;
mod info;
mod limits;
mod openai;
mod sse;
mod tgi;
mod timings;
mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use gristmill_text::{ChatTemplate, TemplateContext};
use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::Config;
use crate::admission::{Admission, Slot};
use crate::backend::Backend;
use crate::metrics::Handle;
use crate::request::{Draft, Validator, Workers};
use failure::Failure;
use generation::Generation;

/// What every handler works with.
pub(crate) struct House {
    pub(crate) config: Config,
    pub(crate) backend: Backend,
    pub(crate) admission: Admission,
    pub(crate) validator: Validator,
    pub(crate) workers: Workers,
    pub(crate) template: Option<Arc<ChatTemplate>>,
    pub(crate) metrics: Handle,
}

impl House {
    /// A slot for one generation.
    fn admit(&self) -> Result<Slot, Failure> {
        self.admit_many(1)?.pop().ok_or(Failure::Overloaded)
    }

    /// Slots for `count` generations, or none.
    fn admit_many(&self, count: usize) -> Result<Vec<Slot>, Failure> {
        metrics::counter!("tgi_request_count").increment(count as u64);
        self.admission.take_many(count).ok_or(Failure::Overloaded).map_err(Failure::counted)
    }

    /// `count` slots of which the first is taken already.
    fn admit_more(&self, first: Slot, count: usize) -> Result<Vec<Slot>, Failure> {
        let mut slots = self.admit_many(count.saturating_sub(1))?;
        slots.push(first);
        Ok(slots)
    }

    /// Validates `draft` and queues it.
    async fn start(&self, draft: Draft, slot: Slot) -> Result<Generation, Failure> {
        let opening = generation::Opening::new(&draft, slot);
        let request = self.validator.validate(draft).await.map_err(|error| Failure::from(error).counted())?;
        Ok(opening.submit(&self.backend, request))
    }

    /// The prompt for a chat.
    async fn render(&self, messages: Vec<serde_json::Value>) -> Result<String, Failure> {
        let template =
            self.template.clone().ok_or_else(|| Failure::Template("template not found".to_owned()))?;
        let render = move || {
            let context = TemplateContext {
                messages: &messages,
                tools: None,
                add_generation_prompt: true,
                extra: None,
            };
            template.render(&context)
        };
        let rendered =
            self.workers.run(render).await.map_err(|error| Failure::Template(error.to_string()))?;
        rendered.map_err(|error| Failure::Template(error.to_string()))
    }

    /// The name of the model in answers to a client that asked for `wanted`.
    fn model_name(&self, wanted: Option<String>) -> String {
        wanted.filter(|name| name != "tgi").unwrap_or_else(|| self.config.model_id.clone())
    }

    /// What `system_fingerprint` says.
    fn fingerprint(&self) -> String {
        let label = self.config.docker_label.as_deref().unwrap_or("native");
        format!("{}-{label}", env!("CARGO_PKG_VERSION"))
    }
}

/// All routes.
pub(crate) fn routes(house: Arc<House>) -> Router {
    let body_limit = DefaultBodyLimit::max(house.config.payload_limit);
    let cors = cors(&house.config.cors_allow_origin);
    let protected = Router::new()
        .route("/", post(tgi::either))
        .route("/generate", post(tgi::generate))
        .route("/generate_stream", post(tgi::generate_stream))
        .route("/tokenize", post(tokenize::text))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/completions", post(completions::completions))
        .route_layer(from_fn_with_state(Arc::clone(&house), auth::require_key));
    let open = Router::new()
        .route("/", get(info::health))
        .route("/health", get(info::health))
        .route("/ping", get(info::health))
        .route("/info", get(info::info))
        .route("/metrics", get(info::metrics))
        .route("/v1/models", get(info::models))
        .route("/chat_tokenize", post(tokenize::chat));
    protected.merge(open).layer(body_limit).layer(cors).with_state(house)
}

fn cors(origins: &[String]) -> CorsLayer {
    let listed = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let origin = if origins.is_empty() { AllowOrigin::any() } else { AllowOrigin::list(listed) };
    CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .allow_origin(origin)
}

/// A header value from text that may hold anything; what no header can carry is left empty.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const COMPUTE_CHARACTERS: HeaderName = HeaderName::from_static("x-compute-characters");
const COMPUTE_TYPE: HeaderName = HeaderName::from_static("x-compute-type");
