//! The largest prefill the flags allow, with every option on, so that the shard can measure its memory.

use gristmill_proto::v3;

use crate::Config;

/// A grey picture of 20 by 20 pixels, for vision models. The wire calls it a JPEG, as TGI does.
const IMAGE: &[u8] = include_bytes!("warmup.png");

/// The same in base64.
const IMAGE_BASE64: &str = "iVBORw0KGgoAAAANSUhEUgAAABQAAAAUCAIAAAAC64paAAAAGElEQVR42mNooAAwjGoe1TyqeVTzwGoGAAiOWB8dS7aeAAAAAElFTkSuQmCC";

/// What the shards support after warmup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Tokens in the KV cache; absent on models without paged attention.
    pub max_batch_total_tokens: Option<u32>,
    /// Longest prompt.
    pub max_input_tokens: u32,
    /// Longest prompt with output.
    pub max_total_tokens: u32,
}

impl Warmed {
    /// The minimum of each.
    pub(super) fn least(self, other: Self) -> Self {
        let tokens = [self.max_batch_total_tokens, other.max_batch_total_tokens];
        Self {
            max_batch_total_tokens: tokens.into_iter().flatten().min(),
            max_input_tokens: self.max_input_tokens.min(other.max_input_tokens),
            max_total_tokens: self.max_total_tokens.min(other.max_total_tokens),
        }
    }
}

impl From<v3::WarmupResponse> for Warmed {
    fn from(answer: v3::WarmupResponse) -> Self {
        Self {
            max_batch_total_tokens: answer.max_supported_total_tokens,
            max_input_tokens: answer.max_input_tokens,
            max_total_tokens: answer.max_total_tokens,
        }
    }
}

/// Requests of the longest prompts until the prefill budget or the batch size is used up.
pub(super) fn request(config: &Config) -> v3::WarmupRequest {
    let max_input_tokens = config.max_input_tokens.map(saturate);
    let max_total_tokens = config.max_total_tokens.map(saturate);
    let budget = config.max_batch_prefill_tokens;
    let longest = max_input_tokens.unwrap_or(budget).max(1);
    let mut requests = Vec::new();
    let mut tokens = 0;
    while tokens < budget && Some(requests.len()) != config.max_batch_size {
        let truncate = longest.min(budget - tokens);
        requests.push(filled(truncate, max_total_tokens, requests.is_empty()));
        tokens += truncate;
    }
    let batch = v3::Batch {
        id: 0,
        size: saturate(requests.len()),
        requests,
        max_tokens: max_input_tokens.unwrap_or(0),
        max_blocks: 0,
    };
    v3::WarmupRequest { batch: Some(batch), max_input_tokens, max_prefill_tokens: budget, max_total_tokens }
}

/// A request of `truncate` prompt tokens; the text is longer in tokens than that.
fn filled(truncate: u32, max_total_tokens: Option<u32>, first: bool) -> v3::Request {
    let mut inputs = "_test ".repeat(truncate as usize);
    let mut chunks = vec![v3::input_chunk::Chunk::Text(inputs.clone())];
    if first {
        let mimetype = "image/jpeg;base64".to_owned();
        chunks.push(v3::input_chunk::Chunk::Image(v3::Image { data: IMAGE.to_vec(), mimetype }));
        inputs.push_str(&format!("![](data:image/jpeg;base64,{IMAGE_BASE64})"));
    }
    let chunks = chunks.into_iter().map(|chunk| v3::InputChunk { chunk: Some(chunk) }).collect();
    v3::Request {
        id: 0,
        inputs,
        input_chunks: Some(v3::Input { chunks }),
        truncate,
        parameters: Some(everything_on()),
        stopping_parameters: Some(v3::StoppingCriteriaParameters {
            max_new_tokens: max_total_tokens.map_or(1, |total| total.saturating_sub(truncate)),
            stop_sequences: Vec::new(),
            ignore_eos_token: true,
        }),
        prefill_logprobs: true,
        top_n_tokens: 20,
        add_special_tokens: true,
        ..v3::Request::default()
    }
}

fn everything_on() -> v3::NextTokenChooserParameters {
    v3::NextTokenChooserParameters {
        temperature: 0.9,
        top_k: 10,
        top_p: 0.9,
        typical_p: 0.9,
        repetition_penalty: 1.2,
        frequency_penalty: 0.1,
        watermark: true,
        ..v3::NextTokenChooserParameters::default()
    }
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{IMAGE, IMAGE_BASE64};

    /// Three bytes from four digits.
    fn decode(text: &str) -> Vec<u8> {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let value = |digit: &u8| digits.iter().position(|other| other == digit).unwrap() as u32;
        let quads = text.as_bytes().chunks_exact(4);
        quads
            .flat_map(|quad| {
                quad.iter().map(value).fold(0, |sum, digit| sum << 6 | digit).to_be_bytes()[1..].to_vec()
            })
            .collect()
    }

    #[test]
    fn both_spellings_of_the_image_are_the_same() {
        assert_eq!(decode(IMAGE_BASE64), IMAGE);
    }
}
