//! The smallest prefill: does the model still generate?

use gristmill_proto::v3;

use super::request::text_input;

/// Batch and request id of the probe.
const PROBE_ID: u64 = u64::MAX;

/// One token on the reserved block 0.
pub(super) fn request() -> v3::PrefillRequest {
    let text = "liveness";
    let request = v3::Request {
        id: PROBE_ID,
        inputs: text.to_owned(),
        input_chunks: text_input(text),
        truncate: 1,
        parameters: Some(neutral()),
        stopping_parameters: Some(v3::StoppingCriteriaParameters {
            max_new_tokens: 1,
            stop_sequences: Vec::new(),
            ignore_eos_token: false,
        }),
        blocks: vec![0],
        slots: vec![0],
        ..v3::Request::default()
    };
    let batch = v3::Batch { id: PROBE_ID, requests: vec![request], size: 1, max_tokens: 2, max_blocks: 1 };
    v3::PrefillRequest { batch: Some(batch), cached_batch: None }
}

fn neutral() -> v3::NextTokenChooserParameters {
    v3::NextTokenChooserParameters {
        temperature: 1.0,
        top_p: 1.0,
        typical_p: 1.0,
        repetition_penalty: 1.0,
        ..v3::NextTokenChooserParameters::default()
    }
}
