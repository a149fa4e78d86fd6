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
    std::iter::successors(Some(0.0001 * 1.5), |bound| Some(bound * 1.5)).take(35).collect()
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

/// The answer of a step has been handed on, and ended rows have been removed.
pub(crate) fn filtered(method: &'static str, elapsed: Duration) {
    histogram!("tgi_batch_filter_duration", "method" => method).record(elapsed);
}

/// Tokens of a speculating shard beyond the first of each row.
pub(crate) fn skipped(answer: &Answer) {
    for generation in &answer.generations {
        histogram!("tgi_request_skipped_tokens").record(generation.tokens.len().saturating_sub(1) as f64);
    }
}

/// A client left before the end.
pub(crate) fn dropped() {
    counter!("tgi_request_failure", "err" => "dropped").increment(1);
}

/// A shard failed a request.
pub(crate) fn failed() {
    counter!("tgi_request_failure", "err" => "generation").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Generated, Generation};

    const LIMITS: Limits =
        Limits { max_input_tokens: 200, max_total_tokens: 400, max_batch_total_tokens: 4096 };

    fn rendered(record: impl FnOnce()) -> String {
        let recorder = builder(&LIMITS).unwrap().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, record);
        handle.render()
    }

    fn timings() -> Timings {
        let second = Duration::from_secs(1);
        Timings { forward: second, decode: second, total: second, concat: Some(second) }
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
    }

    #[test]
    fn names_and_labels_are_those_of_tgi() {
        let text = rendered(|| {
            descriptions::describe();
            load(Load { queued: 3, running: 2, max_tokens: 64 });
            prefill(2, Some(Interrupt::WaitExceeded));
            step("prefill", Duration::from_secs(1), Some(timings()));
            step("decode", Duration::from_secs(1), None);
            filtered("decode", Duration::from_secs(1));
            dropped();
            failed();
        });
        has(&text, "tgi_queue_size 3");
        has(&text, "tgi_batch_current_size 2");
        has(&text, "tgi_batch_current_max_tokens 64");
        has(&text, "tgi_batch_concat{reason=\"wait_exceeded\"} 1");
        has(&text, "tgi_batch_inference_count{method=\"prefill\"} 1");
        has(&text, "tgi_batch_inference_success{method=\"prefill\"} 1");
        has(&text, "tgi_batch_inference_failure{method=\"decode\"} 1");
        has(&text, "tgi_batch_forward_duration_sum{method=\"prefill\"} 1");
        has(&text, "tgi_batch_concat_duration_sum{method=\"decode\"} 1");
        has(&text, "tgi_batch_filter_duration_count{method=\"decode\"} 1");
        has(&text, "tgi_request_failure{err=\"dropped\"} 1");
        has(&text, "tgi_request_failure{err=\"generation\"} 1");
        has(&text, "# TYPE tgi_batch_inference_count counter");
    }

    #[test]
    fn buckets_follow_the_limits() {
        let text = rendered(|| {
            prefill(7, None);
            filtered("prefill", Duration::from_micros(200));
            histogram!("tgi_request_input_length").record(3.0);
            histogram!("tgi_request_generated_tokens").record(3.0);
            histogram!("tgi_request_max_new_tokens").record(3.0);
        });
        let buckets = |name: &str| text.matches(&format!("{name}_bucket{{")).count();
        assert_eq!(buckets("tgi_batch_filter_duration"), 36);
        assert_eq!(buckets("tgi_request_input_length"), 101);
        assert_eq!(buckets("tgi_batch_next_size"), 1025);
        for (index, count) in [(0, 0), (1, 1), (34, 1)] {
            let bound = durations()[index];
            let line =
                format!("tgi_batch_filter_duration_bucket{{method=\"prefill\",le=\"{bound}\"}} {count}");
            has(&text, &line);
        }
        assert!((durations()[34] - 145.0).abs() < 1.0);
        has(&text, "tgi_request_input_length_bucket{le=\"200\"} 1");
        has(&text, "tgi_request_generated_tokens_bucket{le=\"4\"} 1");
        has(&text, "tgi_request_max_new_tokens_bucket{le=\"400\"} 1");
        has(&text, "tgi_batch_next_size_bucket{le=\"6\"} 0");
        has(&text, "tgi_batch_next_size_bucket{le=\"7\"} 1");
    }

    #[test]
    fn skipped_tokens_are_those_beyond_the_first() {
        let token = crate::event::Token { id: 1, text: String::new(), logprob: 0.0, special: false };
        let generated = Generated { token, top: Vec::new() };
        let generation = Generation { request: 0, prefill: None, tokens: vec![generated; 3], end: None };
        let answer = Answer { generations: vec![generation], batch: None };
        let text = rendered(|| skipped(&answer));
        has(&text, "# TYPE tgi_request_skipped_tokens summary");
        has(&text, "tgi_request_skipped_tokens_sum 2");
    }
}
