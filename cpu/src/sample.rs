//! The choice of a token from logits.
//!
//! The order is TGI's: watermark, repetition penalty, frequency penalty, temperature, top-k, top-p, typical-p. Then
//! the highest logit is taken, or, with a seed, the highest sum of logit and Gumbel noise, which draws from the softmax
//! (Gumbel, 1954). Log-probabilities are those of the logits after all warpers. Nothing here depends on other rows.

mod history;
mod noise;
mod normalizer;
mod penalty;
mod ranking;
mod warper;

use gristmill_model::device::Sampled;
use gristmill_model::sampling::Sampling;

pub(crate) use history::History;
use normalizer::{Normalizer, largest};
use ranking::Ranking;

use crate::row::Row;
use crate::simd::Isa;
use crate::step::Output;

/// What is wanted of one row of logits, and what came of it.
pub(crate) struct Choice<'a> {
    pub(crate) row: &'a Row,
    pub(crate) output: Output,
    pub(crate) sampled: Option<Sampled>,
    /// Log-probability of the target.
    pub(crate) logprob: Option<f32>,
    pub(crate) logits: Vec<f32>,
}

impl<'a> Choice<'a> {
    pub(crate) fn new(row: &'a Row, output: Output) -> Self {
        Self { row, output, sampled: None, logprob: None, logits: Vec::new() }
    }

    /// Does what is wanted; the logits are changed.
    pub(crate) fn make(&mut self, isa: Isa, logits: &mut [f32]) {
        if self.output.logits {
            self.logits = logits.to_vec();
        }
        if let Some(target) = self.output.target {
            self.logprob = Some(Normalizer::of(isa, logits).logprob(logits[target as usize]));
        }
        if self.output.sample {
            self.sampled = Some(sample(isa, logits, &self.row.sampling, &self.row.history));
        }
    }
}

/// Chooses the token after `history`.
fn sample(isa: Isa, logits: &mut [f32], sampling: &Sampling, history: &History) -> Sampled {
    penalty::apply(logits, sampling, history);
    warper::apply(isa, logits, sampling);
    let normalizer = Normalizer::of(isa, logits);
    let id = match sampling.seed {
        Some(seed) => noise::draw(isa, logits, seed, history.tokens().len() as u64),
        None => highest(isa, logits),
    };
    let top = top(logits, sampling.top_n as usize, &normalizer);
    Sampled { id, logprob: normalizer.logprob(logits[id as usize]), top }
}

/// The highest logit's token, the lowest among equals.
fn highest(isa: Isa, logits: &[f32]) -> u32 {
    let highest = largest(isa, logits);
    logits.iter().position(|&logit| logit == highest).unwrap_or(0) as u32
}

/// The `count` most likely tokens and those as likely as the last of them; never one that was filtered out.
fn top(logits: &[f32], count: usize, normalizer: &Normalizer) -> Vec<(u32, f32)> {
    let mut top: Vec<(u32, f32)> = Vec::new();
    if count == 0 {
        return top;
    }
    for (id, logit) in Ranking::new(logits) {
        let logprob = normalizer.logprob(logit);
        let tied = top.last().is_some_and(|&(_, last)| last == logprob);
        if top.len() >= count && !tied {
            break;
        }
        top.push((id, logprob));
    }
    top
}

#[cfg(test)]
mod tests {
    use gristmill_model::sampling::Watermark;
    use serde_json::Value;

    use super::*;

    const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../integration-tests/data/warpers.json");

    /// Log-probabilities of all tokens after the warpers.
    fn warped(logits: &[f32], ids: &[u32], sampling: &Sampling) -> Vec<f32> {
        let mut logits = logits.to_vec();
        penalty::apply(&mut logits, sampling, &History::new(ids, sampling));
        warper::apply(Isa::detect(), &mut logits, sampling);
        let normalizer = Normalizer::of(Isa::detect(), &logits);
        logits.iter().map(|&logit| normalizer.logprob(logit)).collect()
    }

    fn choose(logits: &[f32], ids: &[u32], sampling: &Sampling) -> Sampled {
        sample(Isa::detect(), &mut logits.to_vec(), sampling, &History::new(ids, sampling))
    }

    #[test]
    fn agrees_with_recorded_warpers() {
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(RECORDED).unwrap()).unwrap();
        assert!(!cases.is_empty());
        for (index, case) in cases.iter().enumerate() {
            let number = |name: &str| case[name].as_f64().unwrap() as f32;
            let list =
                |name: &str| case[name].as_array().unwrap().iter().map(Value::as_f64).collect::<Vec<_>>();
            let sampling = Sampling {
                temperature: number("temperature"),
                top_k: number("top_k") as u32,
                top_p: number("top_p"),
                typical_p: number("typical_p"),
                repetition_penalty: number("repetition_penalty"),
                frequency_penalty: number("frequency_penalty"),
                ..Sampling::default()
            };
            let logits: Vec<f32> = list("logits").into_iter().map(|logit| logit.unwrap() as f32).collect();
            let ids: Vec<u32> = list("ids").into_iter().map(|id| id.unwrap() as u32).collect();
            for (id, (ours, theirs)) in
                warped(&logits, &ids, &sampling).iter().zip(list("logprobs")).enumerate()
            {
                match theirs {
                    Some(theirs) => {
                        assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{index} {id} {sampling:?}");
                    }
                    None => assert_eq!(*ours, f32::NEG_INFINITY, "case {index} token {id}: {sampling:?}"),
                }
            }
        }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        let sampled = choose(&[1.0, 3.0, 3.0, 2.0], &[0], &Sampling::default());
        assert_eq!((sampled.id, sampled.top), (1, vec![]));
        assert!(
            (f64::from(sampled.logprob) - (3f64.exp() / (1f64.exp() + 2f64.exp() + 2.0 * 3f64.exp())).ln())
                .abs()
                < 1e-6
        );
    }

    #[test]
    fn top_tokens_with_ties_and_without_the_filtered() {
        let top = |top_n, top_k| {
            let sampling = Sampling { top_n, top_k, ..Sampling::default() };
            choose(&[1.0, 3.0, 2.0, 2.0, 0.0], &[0], &sampling)
                .top
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(top(1, 0), [1]);
        assert_eq!(top(2, 0), [1, 2, 3]);
        assert_eq!(top(4, 0), [1, 2, 3, 0]);
        assert_eq!(top(9, 2), [1, 2, 3]);
    }

    #[test]
    fn filters_keep_one_token_at_least() {
        let logits = [0.0, 5.0, 1.0];
        for sampling in [
            Sampling { top_k: 1, ..Sampling::default() },
            Sampling { top_p: 1e-9, ..Sampling::default() },
            Sampling { typical_p: 1e-9, top_k: 1, ..Sampling::default() },
        ] {
            assert_eq!(warped(&logits, &[0], &sampling), [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        }
    }

    #[test]
    fn top_p_takes_as_many_as_the_mass_needs() {
        let logits: Vec<f32> = (0..5000).map(|id| (id * 7919 % 5000) as f32 * 1e-3).collect();
        let sampling = Sampling { top_p: 0.7, ..Sampling::default() };
        let kept: Vec<f32> =
            warped(&logits, &[0], &sampling).into_iter().filter(|logprob| logprob.is_finite()).collect();
        let mut probabilities: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
        probabilities.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = probabilities.iter().sum();
        let mut sum = 0.0;
        let expected = probabilities.iter().take_while(|&&p| (sum, sum += p).0 < 0.7 * total).count();
        assert!(kept.len().abs_diff(expected) <= 1, "{} {expected}", kept.len());
    }

    #[test]
    fn a_watermark_favours_its_green_list() {
        let mark = Watermark { gamma: 0.25, delta: 3.0 };
        let sampling = Sampling { watermark: Some(mark), ..Sampling::default() };
        let green = |last: u32| {
            let logprobs = warped(&[0.0; 4000], &[9, last], &sampling);
            logprobs
                .iter()
                .map(|&logprob| logprob > logprobs.iter().sum::<f32>() / 4000.0)
                .collect::<Vec<_>>()
        };
        let share = green(5).iter().filter(|&&green| green).count();
        assert!((900..1100).contains(&share), "{share} of 4000");
        assert_eq!(green(5), green(5));
        assert_ne!(green(5), green(6));
    }

    #[test]
    fn extreme_numbers_give_a_choice_with_a_probability() {
        let logits: Vec<f32> = (0..100).map(|id| (id * 37 % 100) as f32 * 0.4 - 15.0).collect();
        for (temperature, repetition_penalty) in [
            (1e-40, 1.0),
            (1e-45, 1.0),
            (1e38, 1.0),
            (1.0, 1e-38),
            (1.0, 1e38),
            (1e-40, 1e-38),
            (1e-40, 1e38),
        ] {
            let sampling =
                Sampling { temperature, repetition_penalty, seed: Some(3), top_n: 2, ..Sampling::default() };
            let sampled = choose(&logits, &[1, 2, 3], &sampling);
            assert!(sampled.logprob.is_finite() && sampled.logprob <= 0.0, "{sampling:?}: {sampled:?}");
            assert!(sampled.top[0].1.is_finite());
        }
        let cold = Sampling { temperature: 1e-40, seed: Some(3), ..Sampling::default() };
        assert_eq!(choose(&logits, &[1], &cold).id, choose(&logits, &[1], &Sampling::default()).id);
    }

    #[test]
    fn a_seed_fixes_the_choice_and_positions_differ() {
        let logits: Vec<f32> = (0..1000).map(|id| (id % 13) as f32 * 0.1).collect();
        let at = |seed, length: usize| {
            let sampling = Sampling { seed: Some(seed), ..Sampling::default() };
            choose(&logits, &vec![1; length], &sampling).id
        };
        assert_eq!(at(3, 10), at(3, 10));
        let distinct: std::collections::HashSet<u32> = (1..50).map(|length| at(3, length)).collect();
        assert!(distinct.len() > 30);
    }

    #[test]
    fn a_choice_gives_what_was_asked() {
        use gristmill_model::device::Admission;
        let admission = Admission { prompt: &[1, 2], blocks: &[1], cached: 0, sampling: Sampling::default() };
        let row = Row::new(&admission, 4, 2).unwrap();
        let output = Output { token: 0, row: 0, sample: false, target: Some(2), logits: true };
        let mut choice = Choice::new(&row, output);
        choice.make(Isa::detect(), &mut [0.0, 1.0, 2.0, 3.0]);
        let total: f64 = (0..4).map(|logit| f64::from(logit).exp()).sum();
        assert!((f64::from(choice.logprob.unwrap()) - (2.0 - total.ln())).abs() < 1e-6);
        assert_eq!((choice.logits, choice.sampled), (vec![0.0, 1.0, 2.0, 3.0], None));
    }
}
