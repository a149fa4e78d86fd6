//! What is sent: the scheduler's batches as messages.

use gristmill_proto::v3;

use crate::request::{Chooser, Stopping};
use crate::schedule::{Admitted, CachedBatch, NewBatch};

pub(super) fn batch(new: NewBatch) -> v3::Batch {
    v3::Batch {
        id: new.id,
        size: u32::try_from(new.requests.len()).unwrap_or(u32::MAX),
        requests: new.requests.into_iter().map(request).collect(),
        max_tokens: new.max_tokens,
        max_blocks: new.max_blocks,
    }
}

pub(super) fn cached_batch(batch: CachedBatch) -> v3::CachedBatch {
    v3::CachedBatch {
        id: batch.id,
        size: u32::try_from(batch.request_ids.len()).unwrap_or(u32::MAX),
        request_ids: batch.request_ids,
        max_tokens: batch.max_tokens,
        current_tokens: batch.current_tokens,
    }
}

/// A prompt of text alone, as both spellings of it.
pub(super) fn text_input(text: &str) -> Option<v3::Input> {
    let chunk = v3::InputChunk { chunk: Some(v3::input_chunk::Chunk::Text(text.to_owned())) };
    Some(v3::Input { chunks: vec![chunk] })
}

fn request(admitted: Admitted) -> v3::Request {
    let asked = &admitted.request;
    let first_round = admitted.emitted == 0;
    v3::Request {
        id: admitted.id,
        input_chunks: text_input(&admitted.inputs),
        inputs: admitted.inputs,
        truncate: admitted.truncate,
        parameters: Some(chooser(&asked.chooser)),
        stopping_parameters: Some(stopping(&asked.stopping, admitted.max_new_tokens)),
        prefill_logprobs: asked.prefill_logprobs && first_round,
        top_n_tokens: asked.top_n_tokens,
        blocks: admitted.blocks,
        slots: admitted.slots,
        adapter_id: None,
        cache_len: 0,
        add_special_tokens: asked.add_special_tokens,
        chunk_len: admitted.chunk_len,
        ext: admitted.ids.map(|ids| v3::RequestExt { ids, emitted: admitted.emitted, more: admitted.more }),
    }
}

fn chooser(chooser: &Chooser) -> v3::NextTokenChooserParameters {
    v3::NextTokenChooserParameters {
        temperature: chooser.temperature,
        top_k: chooser.top_k,
        top_p: chooser.top_p,
        typical_p: chooser.typical_p,
        do_sample: chooser.do_sample,
        seed: chooser.seed,
        repetition_penalty: chooser.repetition_penalty,
        frequency_penalty: chooser.frequency_penalty,
        watermark: chooser.watermark,
        grammar: String::new(),
        grammar_type: v3::GrammarType::None.into(),
    }
}

fn stopping(stopping: &Stopping, max_new_tokens: u32) -> v3::StoppingCriteriaParameters {
    v3::StoppingCriteriaParameters {
        max_new_tokens,
        stop_sequences: stopping.stop_sequences.clone(),
        ignore_eos_token: stopping.ignore_eos_token,
    }
}
