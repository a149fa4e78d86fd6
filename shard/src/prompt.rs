//! A request of the wire, checked and tokenized. It runs off the engine's thread.

use gristmill_model::sampling::{Sampling, Watermark};
use gristmill_proto::v3::{
    NextTokenChooserParameters, Request, StoppingCriteriaParameters, input_chunk::Chunk,
};
use gristmill_text::Tokenizer;

use crate::error::CallError;

/// What the engine needs to know about a new row.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) id: u64,
    /// Token ids after truncation, output of earlier rounds included.
    pub(crate) ids: Vec<u32>,
    /// How many of `ids`, at the end, are output of earlier rounds.
    pub(crate) emitted: usize,
    /// Whether another round may follow.
    pub(crate) more: bool,
    /// The router's blocks; empty asks the shard for some.
    pub(crate) blocks: Vec<u32>,
    /// Leading positions that are in the cache.
    pub(crate) cache_len: usize,
    /// Tokens of the first step.
    pub(crate) chunk_len: usize,
    pub(crate) sampling: Sampling,
    pub(crate) stopping: StoppingCriteriaParameters,
    pub(crate) prefill_logprobs: bool,
}

/// What the checks of a request depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptRules {
    /// Token ids are below it.
    pub(crate) vocab: usize,
    /// Gamma and delta.
    pub(crate) watermark: (f32, f32),
    /// Whether prompt log-probabilities may be asked for.
    pub(crate) prefill_logprobs: bool,
}

impl Prompt {
    /// # Errors
    /// Names the request and the field that cannot be served.
    pub(crate) fn new(
        request: Request,
        tokenizer: &Tokenizer,
        rules: PromptRules,
    ) -> Result<Self, CallError> {
        let id = request.id;
        let fail = |problem: &str| CallError::request(id, problem);
        let (ids, emitted, more) = tokens(&request, tokenizer, rules.vocab)?;
        let cache_len = request.cache_len as usize;
        if cache_len >= ids.len() {
            return Err(fail(&format!("Prefix {cache_len} vs input {}", ids.len())));
        }
        if request.adapter_id.as_deref().is_some_and(|adapter| !adapter.is_empty()) {
            return Err(fail("adapter_id is not yet supported"));
        }
        let rest = ids.len() - cache_len;
        let chunk_len = request.chunk_len.map_or(rest, |chunk| (chunk as usize).min(rest));
        let stopping = request.stopping_parameters.ok_or_else(|| fail("stopping_parameters are missing"))?;
        if chunk_len == 0 || stopping.max_new_tokens == 0 {
            return Err(fail("chunk_len and max_new_tokens must be positive"));
        }
        let parameters = request.parameters.ok_or_else(|| fail("parameters are missing"))?;
        Ok(Self {
            id,
            emitted,
            more,
            blocks: request.blocks,
            cache_len,
            chunk_len,
            sampling: sampling(&parameters, request.top_n_tokens, rules.watermark)
                .map_err(|problem| fail(&problem))?,
            stopping,
            prefill_logprobs: request.prefill_logprobs && rules.prefill_logprobs,
            ids,
        })
    }
}

/// The request's ids, or its text tokenized and cut on the left to `truncate` tokens.
fn tokens(
    request: &Request,
    tokenizer: &Tokenizer,
    vocab: usize,
) -> Result<(Vec<u32>, usize, bool), CallError> {
    let fail = |problem: String| CallError::request(request.id, problem);
    let (ids, emitted, more) = match &request.ext {
        Some(ext) if !ext.ids.is_empty() => (ext.ids.clone(), ext.emitted as usize, ext.more),
        _ => (tokenize(request, tokenizer)?, 0, false),
    };
    if ids.is_empty() || emitted >= ids.len() {
        return Err(fail("the prompt has no tokens".to_owned()));
    }
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(id) => Err(fail(format!("token id {id} is not below vocab_size {vocab}"))),
        None => Ok((ids, emitted, more)),
    }
}

fn tokenize(request: &Request, tokenizer: &Tokenizer) -> Result<Vec<u32>, CallError> {
    let text = text(request)?;
    let mut ids = tokenizer.encode(&text, request.add_special_tokens)?.ids;
    let truncate = request.truncate as usize;
    if truncate > 0 && ids.len() > truncate {
        ids.drain(..ids.len() - truncate);
    }
    Ok(ids)
}

/// The text chunks joined. Images are left out: this is how the warmup of TGI's router arrives at a text model.
fn text(request: &Request) -> Result<String, CallError> {
    let Some(input) = request.input_chunks.as_ref().filter(|input| !input.chunks.is_empty()) else {
        return Ok(request.inputs.clone());
    };
    let texts: Vec<&str> = input
        .chunks
        .iter()
        .filter_map(|chunk| match &chunk.chunk {
            Some(Chunk::Text(text)) => Some(text.as_str()),
            Some(Chunk::Image(_)) | None => None,
        })
        .collect();
    if texts.is_empty() {
        Err(CallError::request(request.id, "image modality is not supported"))
    } else {
        Ok(texts.concat())
    }
}

fn sampling(
    wire: &NextTokenChooserParameters,
    top_n: u32,
    watermark: (f32, f32),
) -> Result<Sampling, String> {
    if !wire.grammar.is_empty() {
        return Err("grammar is not yet supported".to_owned());
    }
    positive("temperature", wire.temperature)?;
    positive("repetition_penalty", wire.repetition_penalty)?;
    positive("top_p", wire.top_p)?;
    positive("typical_p", wire.typical_p)?;
    if !wire.frequency_penalty.is_finite() {
        return Err(format!("frequency_penalty {} is not a number", wire.frequency_penalty));
    }
    let warped = wire.temperature != 1.0 || wire.top_k != 0 || wire.top_p < 1.0 || wire.typical_p < 1.0;
    let (gamma, delta) = watermark;
    Ok(Sampling {
        temperature: wire.temperature,
        top_k: wire.top_k,
        top_p: wire.top_p,
        typical_p: wire.typical_p,
        repetition_penalty: wire.repetition_penalty,
        frequency_penalty: wire.frequency_penalty,
        watermark: wire.watermark.then_some(Watermark { gamma, delta }),
        seed: (wire.do_sample || warped).then_some(wire.seed),
        top_n,
    })
}

fn positive(name: &str, value: f32) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name} {value} is not a positive number"))
    }
}
