//! How the next token of a row is chosen: parameters only; devices do the work.

/// Choice of the next token. The order of the steps is TGI's: watermark, repetition penalty, frequency
/// penalty, temperature, top-k, top-p, typical-p; log-probabilities are taken after all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 1 is off.
    pub temperature: f32,
    /// Highest logits kept (ties of the last one too); 0 is off.
    pub top_k: u32,
    /// Smallest set of tokens with at least this mass is kept; 1 is off.
    pub top_p: f32,
    /// Mass kept of the tokens nearest to the entropy (Meister et al., 2022); 1 is off.
    pub typical_p: f32,
    /// Logits of tokens seen in prompt and output are divided by it when positive, else multiplied; 1 is off.
    pub repetition_penalty: f32,
    /// This, times the share of a token in prompt and output, is subtracted from its logit; 0 is off.
    pub frequency_penalty: f32,
    /// Marks the text statistically (Kirchenbauer et al., 2023).
    pub watermark: Option<Watermark>,
    /// Seed of the row's randomness; `None` takes the highest logit, the lowest id among equals.
    pub seed: Option<u64>,
    /// How many of the most likely tokens to report (ties of the last one too); 0 is none.
    pub top_n: u32,
}

/// Strength of the watermark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watermark {
    /// Share of the vocabulary on the green list.
    pub gamma: f32,
    /// Added to the logits of green tokens.
    pub delta: f32,
}

impl Default for Sampling {
    /// Greedy, with everything off.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            watermark: None,
            seed: None,
            top_n: 0,
        }
    }
}
