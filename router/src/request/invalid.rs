//! What can be wrong with a request. The texts are TGI's where it has one.

use thiserror::Error;

/// The first thing found wrong with a [`super::Draft`], in the order of checking. Clients compare the texts.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Invalid {
    /// `best_of` above 1 where the server allows 1 only.
    #[error("`best_of` != 1 is not allowed for this endpoint")]
    BestOfDisabled,
    /// `best_of` above the server's limit.
    #[error("`best_of` must be > 0 and <= {limit}. Given: {given}")]
    BestOf {
        /// Largest allowed.
        limit: usize,
        /// What the client sent.
        given: usize,
    },
    /// `best_of` in a stream.
    #[error("`best_of` != 1 is not supported when streaming tokens")]
    BestOfStream,
    /// `decoder_input_details` in a stream.
    #[error("`decoder_input_details` == true is not supported when streaming tokens")]
    PrefillDetailsStream,
    /// `best_of` above 1 without sampling.
    #[error("you must use sampling when `best_of` is > 1")]
    BestOfSampling,
    /// A parameter at or below 0.
    #[error("`{0}` must be strictly positive")]
    NotPositive(&'static str),
    /// A parameter too large for a 32-bit float.
    #[error("`{0}` must be finite")]
    NotFinite(&'static str),
    /// `frequency_penalty` out of range.
    #[error("`frequency_penalty` must be >= -2.0 and <= 2.0")]
    FrequencyPenalty,
    /// A probability mass out of range.
    #[error("`{0}` must be > 0.0 and < 1.0")]
    NotInside(&'static str),
    /// Too many stop sequences.
    #[error("`stop` supports up to {limit} stop sequences. Given: {given}")]
    StopSequences {
        /// Most allowed.
        limit: usize,
        /// How many the client sent.
        given: usize,
    },
    /// One seed for several generations.
    #[error("`seed` must not be set when `best_of` > 1")]
    BestOfSeed,
    /// `top_n_tokens` above the server's limit.
    #[error("`top_n_tokens` must be >= 0 and <= {limit}. Given: {given}")]
    TopNTokens {
        /// Largest allowed.
        limit: u32,
        /// What the client sent.
        given: u32,
    },
    /// No prompt.
    #[error("`inputs` cannot be empty")]
    EmptyInput,
    /// `truncate` out of range.
    #[error("`truncate` must be strictly positive and less than {limit}. Given: {given}")]
    Truncate {
        /// Largest allowed, in tokens.
        limit: usize,
        /// What the client sent.
        given: usize,
    },
    /// The prompt cannot be tokenized.
    #[error("tokenizer error {0}")]
    Tokenizer(String),
    /// Prompt and output together are too long.
    #[error(
        "`inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {input} `inputs` tokens and {new} `max_new_tokens`"
    )]
    TotalTokens {
        /// Most allowed, in tokens.
        limit: usize,
        /// Tokens of the prompt.
        input: usize,
        /// Tokens wanted in the first round.
        new: u32,
    },
    /// The prompt alone is too long.
    #[error("`inputs` must have less than {limit} tokens. Given: {given}")]
    InputLength {
        /// Most allowed, in tokens.
        limit: usize,
        /// Tokens of the prompt.
        given: usize,
    },
    /// A grammar was given.
    #[error("grammar is not supported")]
    Grammar,
    /// An image or the like for a model that reads text.
    #[error("{0} modality is not supported")]
    Modality(&'static str),
    /// An adapter that is not loaded.
    #[error("adapter_id `{0}` is not a loaded adapter")]
    Adapter(String),
    /// A field whose effect would be missing.
    #[error("{0} is not yet supported")]
    NotYet(&'static str),
}

impl Invalid {
    /// The field at fault, in TGI's spelling.
    pub fn field(&self) -> Option<&'static str> {
        Some(match self {
            Self::BestOfDisabled | Self::BestOf { .. } | Self::BestOfStream | Self::BestOfSampling => {
                "best_of"
            }
            Self::PrefillDetailsStream => "decoder_input_details",
            Self::NotPositive(field)
            | Self::NotFinite(field)
            | Self::NotInside(field)
            | Self::NotYet(field) => field,
            Self::FrequencyPenalty => "frequency_penalty",
            Self::StopSequences { .. } => "stop",
            Self::BestOfSeed => "seed",
            Self::TopNTokens { .. } => "top_n_tokens",
            Self::EmptyInput | Self::InputLength { .. } => "inputs",
            Self::Truncate { .. } => "truncate",
            Self::TotalTokens { .. } => "max_new_tokens",
            Self::Grammar => "grammar",
            Self::Adapter(_) => "adapter_id",
            Self::Tokenizer(_) | Self::Modality(_) => return None,
        })
    }
}
