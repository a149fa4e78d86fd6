//! What a client asked for, before anything is checked.

/// An untrusted request in the one form that every dialect makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The prompt.
    pub inputs: String,
    /// Whether the tokenizer adds its special tokens (not for chat: the template has them).
    pub add_special_tokens: bool,
    /// Everything else.
    pub parameters: Parameters,
}

/// The parameters of a [`Draft`]. Absent means off, except where noted; the ranges are those of [`super::Invalid`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Generations of which the best is wanted.
    pub best_of: Option<usize>,
    /// Logits are divided by it.
    pub temperature: Option<f32>,
    /// Penalty on every token seen.
    pub repetition_penalty: Option<f32>,
    /// Penalty that grows with a token's frequency.
    pub frequency_penalty: Option<f32>,
    /// Highest logits kept.
    pub top_k: Option<i32>,
    /// Probability mass kept.
    pub top_p: Option<f32>,
    /// Typical mass kept.
    pub typical_p: Option<f32>,
    /// Whether to sample even if no parameter above asks for it.
    pub do_sample: bool,
    /// Tokens wanted; absent means all the room there is.
    pub max_new_tokens: Option<u32>,
    /// Texts that end the generation.
    pub stop: Vec<String>,
    /// Prompt tokens kept, from the end.
    pub truncate: Option<usize>,
    /// Whether to watermark.
    pub watermark: bool,
    /// Whether prompt log-probabilities are wanted.
    pub decoder_input_details: bool,
    /// Random when absent.
    pub seed: Option<u64>,
    /// How many of the most likely tokens to report.
    pub top_n_tokens: Option<u32>,
    /// Whether a grammar was given.
    pub grammar: bool,
    /// An adapter to use.
    pub adapter_id: Option<String>,
}
