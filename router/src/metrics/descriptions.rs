//! What each metric means: name, unit, text.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: [(&str, &str); 7] = [
    ("tgi_request_count", "Generation requests received"),
    ("tgi_request_success", "Requests that finished well"),
    ("tgi_request_failure", "Requests that failed, by kind of error"),
    ("tgi_batch_concat", "Prefills that went before running rows, by reason"),
    ("tgi_batch_inference_count", "Calls to the shards, by method"),
    ("tgi_batch_inference_success", "Calls that succeeded, by method"),
    ("tgi_batch_inference_failure", "Calls that failed, by method"),
];

const DURATIONS: [(&str, &str); 10] = [
    ("tgi_request_duration", "A whole request"),
    ("tgi_request_validation_duration", "Its validation"),
    ("tgi_request_queue_duration", "Its time in the queue"),
    ("tgi_request_inference_duration", "From its first prefill to its end"),
    ("tgi_request_mean_time_per_token_duration", "Inference time over generated tokens"),
    ("tgi_batch_inference_duration", "A call to the shards as the router sees it, by method"),
    ("tgi_batch_forward_duration", "Its forward, by method"),
    ("tgi_batch_decode_duration", "Its sampling and text, by method"),
    ("tgi_batch_filter_duration", "Handing on its answer and removing ended rows, by method"),
    ("tgi_batch_concat_duration", "Joining batches"),
];

const COUNTED: [(&str, &str); 5] = [
    ("tgi_request_input_length", "Prompt tokens of a request"),
    ("tgi_request_max_new_tokens", "Tokens a request may generate"),
    ("tgi_request_generated_tokens", "Tokens a request generated"),
    ("tgi_request_skipped_tokens", "Speculated tokens accepted in one step of a request"),
    ("tgi_batch_next_size", "Requests in a new batch"),
];

const GAUGES: [(&str, &str); 4] = [
    ("tgi_queue_size", "Waiting requests"),
    ("tgi_batch_current_size", "Running sequences"),
    ("tgi_batch_current_max_tokens", "Tokens the running batches can grow to"),
    ("tgi_batch_max_total_tokens", "Tokens in the KV cache"),
];

pub(super) fn describe() {
    for (name, text) in COUNTERS {
        describe_counter!(name, Unit::Count, text);
    }
    for (name, text) in DURATIONS {
        describe_histogram!(name, Unit::Seconds, text);
    }
    for (name, text) in COUNTED {
        describe_histogram!(name, Unit::Count, text);
    }
    for (name, text) in GAUGES {
        describe_gauge!(name, Unit::Count, text);
    }
}
