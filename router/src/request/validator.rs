//! From untrusted to valid: the checks in TGI's order, then the tokens.

use std::sync::Arc;

use gristmill_text::{Encoding, Tokenizer};

use super::{Chooser, Draft, Invalid, Parameters, ROUND_TOKENS, Stopping, ValidRequest, Workers, random};

/// What a request may ask for.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Largest `best_of`.
    pub max_best_of: usize,
    /// Most stop sequences.
    pub max_stop_sequences: usize,
    /// Largest `top_n_tokens`.
    pub max_top_n_tokens: u32,
    /// Longest prompt, in tokens.
    pub max_input_tokens: usize,
    /// Prompt and output together, in tokens; more than `max_input_tokens`.
    pub max_total_tokens: usize,
}

/// Checks drafts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Validator {
    bounds: Bounds,
    tokenizer: Arc<Tokenizer>,
    workers: Workers,
}

impl Validator {
    /// Tokenizes with `tokenizer` on `workers`.
    pub fn new(bounds: Bounds, tokenizer: Arc<Tokenizer>, workers: Workers) -> Self {
        Self { bounds, tokenizer, workers }
    }

    /// Checks how many generations one answer may be chosen from.
    ///
    /// # Errors
    /// More than the server allows.
    pub fn check_best_of(&self, given: usize) -> Result<(), Invalid> {
        match self.bounds.max_best_of {
            1 if given != 1 => Err(Invalid::BestOfDisabled),
            limit if given > limit => Err(Invalid::BestOf { limit, given }),
            _ => Ok(()),
        }
    }

    /// Checks everything, and counts the prompt's tokens with the model's tokenizer.
    ///
    /// # Errors
    /// The first thing wrong, in TGI's order.
    pub async fn validate(&self, draft: Draft) -> Result<ValidRequest, Invalid> {
        let chooser = self.bounds.check(&draft)?;
        let Draft { inputs, add_special_tokens, parameters } = draft;
        let (inputs, encoding) = self.tokenize(inputs, add_special_tokens).await?;
        let room = self.bounds.room(encoding.ids.len(), &parameters)?;
        check_unavailable(&parameters)?;
        let ids = &encoding.ids[encoding.ids.len() - room.input..];
        metrics::histogram!("tgi_request_input_length").record(room.input as f64);
        metrics::histogram!("tgi_request_max_new_tokens").record(f64::from(room.new));
        Ok(ValidRequest {
            inputs: inputs.into(),
            ids: ids.into(),
            truncate: u32_of(parameters.truncate.unwrap_or(self.bounds.max_input_tokens)),
            add_special_tokens,
            prefill_logprobs: parameters.decoder_input_details,
            top_n_tokens: parameters.top_n_tokens.unwrap_or(0),
            chooser,
            stopping: Stopping {
                max_new_tokens: room.new,
                stop_sequences: parameters.stop,
                ignore_eos_token: false,
            },
        })
    }

    /// The tokens of a text, which comes back with them.
    ///
    /// # Errors
    /// [`Invalid::Tokenizer`].
    pub async fn tokenize(&self, text: String, special: bool) -> Result<(String, Encoding), Invalid> {
        let tokenizer = Arc::clone(&self.tokenizer);
        let job = move || tokenizer.encode(&text, special).map(|encoding| (text, encoding));
        let done = self.workers.run(job).await.map_err(|error| Invalid::Tokenizer(error.to_string()))?;
        done.map_err(|error| Invalid::Tokenizer(error.to_string()))
    }
}

/// How many tokens a request has and may get.
struct Room {
    input: usize,
    new: u32,
}

impl Bounds {
    /// What can be checked without tokens, in TGI's order.
    fn check(&self, draft: &Draft) -> Result<Chooser, Invalid> {
        let parameters = &draft.parameters;
        let chooser = choose(parameters)?;
        if parameters.max_new_tokens == Some(0) {
            return Err(Invalid::NotPositive("max_new_tokens"));
        }
        at_most(self.max_stop_sequences, parameters.stop.len())
            .map_err(|(limit, given)| Invalid::StopSequences { limit, given })?;
        if best_of(parameters) > 1 && parameters.seed.is_some() {
            return Err(Invalid::BestOfSeed);
        }
        at_most(self.max_top_n_tokens, parameters.top_n_tokens.unwrap_or(0))
            .map_err(|(limit, given)| Invalid::TopNTokens { limit, given })?;
        if draft.inputs.is_empty() {
            return Err(Invalid::EmptyInput);
        }
        match parameters.truncate {
            Some(given) if given == 0 || given > self.max_input_tokens => {
                Err(Invalid::Truncate { limit: self.max_input_tokens, given })
            }
            _ => Ok(chooser),
        }
    }

    /// The room for `tokens` of prompt. TGI checks only the first round, and so accepts what ends early in a later one.
    fn room(&self, tokens: usize, parameters: &Parameters) -> Result<Room, Invalid> {
        let input = parameters.truncate.map_or(tokens, |truncate| tokens.min(truncate));
        let left = u32_of(self.max_total_tokens.saturating_sub(input));
        let first_round = parameters.max_new_tokens.unwrap_or(left).min(ROUND_TOKENS);
        at_most(self.max_total_tokens, input + first_round as usize)
            .map_err(|(limit, _)| Invalid::TotalTokens { limit, input, new: first_round })?;
        at_most(self.max_input_tokens, input)
            .map_err(|(limit, given)| Invalid::InputLength { limit, given })?;
        if input == 0 {
            return Err(Invalid::EmptyInput);
        }
        Ok(Room { input, new: parameters.max_new_tokens.unwrap_or(left).min(left) })
    }
}

fn choose(parameters: &Parameters) -> Result<Chooser, Invalid> {
    if best_of(parameters) > 1 && !samples(parameters) {
        return Err(Invalid::BestOfSampling);
    }
    Ok(Chooser {
        temperature: positive("temperature", parameters.temperature)?,
        repetition_penalty: positive("repetition_penalty", parameters.repetition_penalty)?,
        frequency_penalty: frequency(parameters.frequency_penalty)?,
        top_p: inside("top_p", parameters.top_p)?,
        typical_p: inside("typical_p", parameters.typical_p)?,
        top_k: match parameters.top_k {
            None => 0,
            Some(top_k) => {
                u32::try_from(top_k).ok().filter(|&top_k| top_k > 0).ok_or(Invalid::NotPositive("top_k"))?
            }
        },
        do_sample: parameters.do_sample,
        seed: parameters.seed.unwrap_or_else(random),
        watermark: parameters.watermark,
    })
}

fn best_of(parameters: &Parameters) -> usize {
    parameters.best_of.unwrap_or(1)
}

fn samples(parameters: &Parameters) -> bool {
    parameters.do_sample
        || parameters.temperature.is_some()
        || parameters.top_k.is_some()
        || parameters.top_p.is_some()
        || parameters.typical_p.is_some()
}

fn positive(field: &'static str, value: Option<f32>) -> Result<f32, Invalid> {
    match value.unwrap_or(1.0) {
        f32::INFINITY => Err(Invalid::NotFinite(field)),
        value if value > 0.0 => Ok(value),
        _ => Err(Invalid::NotPositive(field)),
    }
}

fn inside(field: &'static str, value: Option<f32>) -> Result<f32, Invalid> {
    match value {
        None => Ok(1.0),
        Some(value) if value > 0.0 && value < 1.0 => Ok(value),
        Some(_) => Err(Invalid::NotInside(field)),
    }
}

fn frequency(value: Option<f32>) -> Result<f32, Invalid> {
    let value = value.unwrap_or(0.0);
    if (-2.0..=2.0).contains(&value) { Ok(value) } else { Err(Invalid::FrequencyPenalty) }
}

/// What is checked last, as TGI checks grammars last.
fn check_unavailable(parameters: &Parameters) -> Result<(), Invalid> {
    if parameters.grammar {
        return Err(Invalid::Grammar);
    }
    match &parameters.adapter_id {
        Some(adapter) => Err(Invalid::Adapter(adapter.clone())),
        None => Ok(()),
    }
}

fn at_most<T: PartialOrd + Copy>(limit: T, given: T) -> Result<(), (T, T)> {
    if given > limit { Err((limit, given)) } else { Ok(()) }
}

fn u32_of(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn validator() -> Validator {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/data/tiny/llama-plain");
        let bounds = Bounds {
            max_best_of: 2,
            max_stop_sequences: 4,
            max_top_n_tokens: 5,
            max_input_tokens: 20,
            max_total_tokens: 30,
        };
        Validator::new(bounds, Arc::new(Tokenizer::load(&folder).unwrap()), Workers::new(1))
    }

    /// A draft with these inputs and with what `change` makes of its parameters. Each `a` of `inputs` is one token.
    fn draft(inputs: &str, change: impl FnOnce(&mut Parameters)) -> Draft {
        let mut parameters = Parameters::default();
        change(&mut parameters);
        Draft { inputs: inputs.to_owned(), add_special_tokens: false, parameters }
    }

    async fn validate(inputs: &str, change: impl FnOnce(&mut Parameters)) -> Result<ValidRequest, String> {
        validator().validate(draft(inputs, change)).await.map_err(|error| error.to_string())
    }

    /// Every row that validation can raise, with the text that TGI has for it.
    #[tokio::test]
    async fn every_error_has_tgis_text() {
        type Change = fn(&mut Parameters);
        let rows: [(&str, Change, &str); 26] = [
            ("a", |p| p.best_of = Some(2), "you must use sampling when `best_of` is > 1"),
            ("a", |p| p.temperature = Some(0.0), "`temperature` must be strictly positive"),
            ("a", |p| p.temperature = Some(-1.0), "`temperature` must be strictly positive"),
            ("a", |p| p.temperature = Some(f32::NAN), "`temperature` must be strictly positive"),
            ("a", |p| p.temperature = Some(f32::INFINITY), "`temperature` must be finite"),
            ("a", |p| p.repetition_penalty = Some(0.0), "`repetition_penalty` must be strictly positive"),
            ("a", |p| p.repetition_penalty = Some(f32::INFINITY), "`repetition_penalty` must be finite"),
            ("a", |p| p.frequency_penalty = Some(-2.1), "`frequency_penalty` must be >= -2.0 and <= 2.0"),
            ("a", |p| p.frequency_penalty = Some(f32::NAN), "`frequency_penalty` must be >= -2.0 and <= 2.0"),
            ("a", |p| p.top_p = Some(0.0), "`top_p` must be > 0.0 and < 1.0"),
            ("a", |p| p.top_p = Some(1.0), "`top_p` must be > 0.0 and < 1.0"),
            ("a", |p| p.top_p = Some(f32::NAN), "`top_p` must be > 0.0 and < 1.0"),
            ("a", |p| p.typical_p = Some(1.0), "`typical_p` must be > 0.0 and < 1.0"),
            ("a", |p| p.top_k = Some(0), "`top_k` must be strictly positive"),
            ("a", |p| p.top_k = Some(i32::MIN), "`top_k` must be strictly positive"),
            ("a", |p| p.max_new_tokens = Some(0), "`max_new_tokens` must be strictly positive"),
            ("a", |p| p.stop = vec!["s".into(); 5], "`stop` supports up to 4 stop sequences. Given: 5"),
            (
                "a",
                |p| (p.best_of, p.do_sample, p.seed) = (Some(2), true, Some(1)),
                "`seed` must not be set when `best_of` > 1",
            ),
            ("a", |p| p.top_n_tokens = Some(6), "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
            ("", |_| {}, "`inputs` cannot be empty"),
            (
                "a",
                |p| p.truncate = Some(0),
                "`truncate` must be strictly positive and less than 20. Given: 0",
            ),
            (
                "a",
                |p| p.truncate = Some(21),
                "`truncate` must be strictly positive and less than 20. Given: 21",
            ),
            (
                "a a a",
                |p| p.max_new_tokens = Some(28),
                "`inputs` tokens + `max_new_tokens` must be <= 30. Given: 3 `inputs` tokens and 28 `max_new_tokens`",
            ),
            (
                "a a a a a a a a a a a a a a a a a a a a a",
                |p| p.max_new_tokens = Some(1),
                "`inputs` must have less than 20 tokens. Given: 21",
            ),
            ("a", |p| p.grammar = true, "grammar is not supported"),
            ("a", |p| p.adapter_id = Some("x".into()), "adapter_id `x` is not a loaded adapter"),
        ];
        for (inputs, change, text) in rows {
            assert_eq!(validate(inputs, change).await.unwrap_err(), text);
        }
    }

    #[test]
    fn best_of_has_tgis_texts() {
        let text = |max_best_of, given| {
            let mut validator = validator();
            validator.bounds.max_best_of = max_best_of;
            validator.check_best_of(given).map_err(|error| error.to_string())
        };
        assert_eq!(text(1, 2).unwrap_err(), "`best_of` != 1 is not allowed for this endpoint");
        assert_eq!(text(2, 3).unwrap_err(), "`best_of` must be > 0 and <= 2. Given: 3");
        assert!(text(1, 1).is_ok() && text(2, 2).is_ok());
    }

    #[tokio::test]
    async fn what_is_checked_first_is_reported() {
        let everything = |p: &mut Parameters| {
            (p.temperature, p.top_k, p.max_new_tokens, p.truncate) = (Some(0.0), Some(0), Some(0), Some(0));
            p.grammar = true;
        };
        assert_eq!(validate("", everything).await.unwrap_err(), "`temperature` must be strictly positive");
    }

    #[tokio::test]
    async fn the_limits_themselves_are_fine() {
        let longest = "a a a a a a a a a a a a a a a a a a a a";
        let valid = validate(longest, |p| p.max_new_tokens = Some(10)).await.unwrap();
        assert_eq!((valid.ids.len(), valid.stopping.max_new_tokens), (20, 10));
        let at_limits = |p: &mut Parameters| {
            (p.frequency_penalty, p.truncate, p.top_n_tokens) = (Some(-2.0), Some(20), Some(5));
            p.stop = vec!["s".into(); 4];
        };
        assert!(validate("a", at_limits).await.is_ok());
    }

    #[tokio::test]
    async fn absent_parameters_get_their_neutral_values() {
        let valid = validate("a a", |_| {}).await.unwrap();
        let Chooser { temperature, top_k, top_p, typical_p, do_sample, repetition_penalty, .. } =
            valid.chooser;
        assert_eq!((temperature, top_k, top_p, typical_p), (1.0, 0, 1.0, 1.0));
        assert_eq!((do_sample, repetition_penalty, valid.chooser.frequency_penalty), (false, 1.0, 0.0));
        assert_eq!((valid.truncate, valid.top_n_tokens, valid.stopping.max_new_tokens), (20, 0, 28));
        assert_ne!(valid.chooser.seed, validate("a a", |_| {}).await.unwrap().chooser.seed);
    }

    #[tokio::test]
    async fn the_end_of_a_long_prompt_is_kept() {
        let valid = validate("a b c d", |p| p.truncate = Some(2)).await.unwrap();
        let whole = validator().tokenize("a b c d".to_owned(), false).await.unwrap().1;
        assert_eq!(
            (&*valid.ids, valid.truncate, &*valid.inputs),
            (&whole.ids[whole.ids.len() - 2..], 2, "a b c d")
        );
    }

    /// TGI accepts what its first round has room for, and ends it early later on.
    #[tokio::test]
    async fn more_than_one_round_is_cut_to_the_room_there_is() {
        let mut validator = validator();
        validator.bounds.max_total_tokens = 2000;
        let valid = validator.validate(draft("a a", |p| p.max_new_tokens = Some(u32::MAX))).await.unwrap();
        assert_eq!(valid.stopping.max_new_tokens, 1998);
    }
}
