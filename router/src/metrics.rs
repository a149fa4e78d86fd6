//! The metrics of TGI's router under their exact names, and the recorder that renders them.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::backend::Limits;
use crate::schedule::{Answer, Interrupt, Load};
use crate::shards::Timings;

mod descriptions;

/// How often samples are moved from the lock-free lists into the histograms when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders everything recorded so far.
#[derive(Clone)]
pub struct Handle {
    prometheus: PrometheusHandle,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Handle")
    }
}

impl Handle {
    /// The Prometheus text format.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }
}

/// Makes this process record, with buckets that fit `limits`. Needs a tokio runtime.
///
/// # Errors
/// TGI's text, when there is a recorder already.
pub fn install(limits: &Limits) -> Result<Handle, String> {
    let failed = |error: &dyn std::fmt::Display| format!("failed to build prometheus recorder: {error}");
    let recorder = builder(limits).map_err(|error| failed(&error))?.build_recorder();
    let prometheus = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(&error))?;
    descriptions::describe();
    gauge!("tgi_batch_max_total_tokens").set(f64::from(limits.max_batch_total_tokens));
    let kept = prometheus.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            kept.run_upkeep();
        }
    });
    Ok(Handle { prometheus })
}

fn builder(limits: &Limits) -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    let total = hundredths(limits.max_total_tokens);
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("duration".to_owned()), &durations())?
        .set_buckets_for_metric(full("tgi_request_input_length"), &hundredths(limits.max_input_tokens))?
        .set_buckets_for_metric(full("tgi_request_generated_tokens"), &total)?
        .set_buckets_for_metric(full("tgi_request_max_new_tokens"), &total)?
        .set_buckets_for_metric(full("tgi_batch_next_size"), &sizes())
}

/// Seconds from 0.15 ms to 145 s, each half as much again.
fn durations() -> Vec<f64> {
    (1..=35).map(|power| 0.0001 * 1.5_f64.powi(power)).collect()
}

fn hundredths(max: usize) -> Vec<f64> {
    (1..=100).map(|part| max as f64 / 100.0 * f64::from(part)).collect()
}

fn sizes() -> Vec<f64> {
    (1..=1024).map(f64::from).collect()
}

pub(crate) fn load(load: Load) {
    gauge!("tgi_queue_size").set(load.queued as f64);
    gauge!("tgi_batch_current_size").set(load.running as f64);
    gauge!("tgi_batch_current_max_tokens").set(load.max_tokens as f64);
}

/// A new batch of `size` requests is about to start.
pub(crate) fn prefill(size: usize, interrupt: Option<Interrupt>) {
    histogram!("tgi_batch_next_size").record(size as f64);
    if let Some(interrupt) = interrupt {
        counter!("tgi_batch_concat", "reason" => interrupt.label()).increment(1);
    }
}

/// A Prefill or Decode came back; without `timings` it failed.
pub(crate) fn step(method: &'static str, elapsed: Duration, timings: Option<Timings>) {
    counter!("tgi_batch_inference_count", "method" => method).increment(1);
    let Some(timings) = timings else {
        counter!("tgi_batch_inference_failure", "method" => method).increment(1);
        return;
    };
    counter!("tgi_batch_inference_success", "method" => method).increment(1);
    histogram!("tgi_batch_inference_duration", "method" => method).record(elapsed);
    histogram!("tgi_batch_forward_duration", "method" => method).record(timings.forward);
    histogram!("tgi_batch_decode_duration", "method" => method).record(timings.decode);
    if let Some(concat) = timings.concat {
        histogram!("tgi_batch_concat_duration", "method" => "decode").record(concat);
    }
}

/// The answer of a step has been handed on.
pub(crate) fn filtered(method: &'static str, elapsed: Duration) {
    histogram!("tgi_batch_filter_duration", "method" => method).record(elapsed);
}

/// Tokens of a speculating shard beyond the first of each row.
pub(crate) fn skipped(answer: &Answer) {
    for generation in &answer.generations {
        histogram!("tgi_request_skipped_tokens").record(generation.tokens.len().saturating_sub(1) as f64);
    }
}

/// A client left, or did not keep up.
pub(crate) fn dropped() {
    counter!("tgi_request_failure", "err" => "dropped").increment(1);
}

/// A shard failed a request.
pub(crate) fn failed() {
    counter!("tgi_request_failure", "err" => "generation").increment(1);
}
