//! The demo model's numbers against those transformers computed in float32 on the same bf16 weights.

use std::fs;

use gristmill_integration_tests::{demo, rig};
use gristmill_model::device::Slot;
use gristmill_model::sampling::Sampling;

const VOCAB: usize = 49_152;
const STEPS: usize = 64;
const TOP: usize = 32;
/// Largest difference, as a share of the range of the recorded logits.
const TOLERANCE: f32 = 2e-3;
/// Greedy tokens that may differ because the recorded gap is below the tolerance, of 2,560.
const MAX_TIES: usize = 40;

/// One recorded greedy step.
struct Step {
    id: u32,
    logsumexp: f32,
    top: Vec<(u32, f32)>,
}

#[test]
fn logits_and_greedy_tokens_equal_the_recorded() {
    let prompts = demo::prompts();
    let last = last_logits();
    let greedy = greedy_steps();
    let tokens = prompts.iter().map(|prompt| prompt.ids.len() + STEPS + 16).sum();
    let mut rig = rig::Rig::new(demo::folder(), tokens);
    let mut worst = Worst::default();
    let mut rows = Vec::new();
    for ((prompt, last), steps) in prompts.iter().zip(&last).zip(&greedy) {
        let forced: Vec<u32> = prompt.ids.iter().copied().chain(steps.iter().map(|step| step.id)).collect();
        let slot = rig.admit(&forced, 0, Sampling::default());
        let range = max(last) + max(&last.iter().map(|x| -x).collect::<Vec<_>>());
        let logits = positions(&mut rig, &[(slot, 0, prompt.ids.len())]).remove(0);
        let error = logits.iter().zip(last).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        worst.see(error / range, "last position");
        compare(&logits, &steps[0], range, &mut worst);
        rows.push((slot, prompt.ids.len(), range));
    }
    for step in 1..STEPS {
        let wanted: Vec<_> = rows.iter().map(|&(slot, len, _)| (slot, len + step - 1, 1)).collect();
        let logits = positions(&mut rig, &wanted);
        for ((logits, steps), (.., range)) in logits.iter().zip(&greedy).zip(&rows) {
            compare(logits, &steps[step], *range, &mut worst);
        }
    }
    println!("worst difference {:.2e} of the range ({}); {} near-ties", worst.share, worst.what, worst.ties);
    assert!(worst.share < TOLERANCE, "{:.2e} at {}", worst.share, worst.what);
    assert!(worst.ties <= MAX_TIES, "{} greedy tokens differ at near-ties", worst.ties);
}

#[derive(Default)]
struct Worst {
    share: f32,
    what: &'static str,
    ties: usize,
}

impl Worst {
    fn see(&mut self, share: f32, what: &'static str) {
        if share > self.share {
            (self.share, self.what) = (share, what);
        }
    }
}

/// Logits of the last of each row's positions, computed in one step.
fn positions(rig: &mut rig::Rig, rows: &[(Slot, usize, usize)]) -> Vec<Vec<f32>> {
    let rows: Vec<_> = rows
        .iter()
        .map(|&(slot, start, len)| {
            let mut row = rig::row(slot, start..start + len, false);
            row.logits = true;
            row
        })
        .collect();
    rig.step(&rows).into_iter().map(|output| output.logits).collect()
}

fn compare(logits: &[f32], step: &Step, range: f32, worst: &mut Worst) {
    for &(id, logit) in &step.top {
        worst.see((logits[id as usize] - logit).abs() / range, "top of a greedy step");
    }
    worst.see((logsumexp(logits) - step.logsumexp).abs() / range, "log-sum-exp of a greedy step");
    let chosen = argmax(logits);
    if chosen != step.id as usize {
        let gap = step.top[0].1 - step.top[1].1;
        assert!(gap < TOLERANCE * range, "chose {chosen}, recorded {} with a gap of {gap}", step.id);
        worst.ties += 1;
    }
}

fn last_logits() -> Vec<Vec<f32>> {
    let bytes = fs::read(demo::data("smollm2/last_logits.bin")).unwrap();
    let records = bytes.chunks_exact(8 + 2 * VOCAB);
    assert!(records.remainder().is_empty());
    records
        .map(|record| {
            let (min, max) = (f32_at(record, 0), f32_at(record, 4));
            let codes =
                record[8..].as_chunks::<2>().0.iter().map(|code| f32::from(u16::from_le_bytes(*code)));
            codes.map(|code| min + (max - min) * code / 65535.0).collect()
        })
        .collect()
}

fn greedy_steps() -> Vec<Vec<Step>> {
    let bytes = fs::read(demo::data("smollm2/greedy.bin")).unwrap();
    let steps = bytes.chunks_exact(8 + 8 * TOP).map(|record| Step {
        id: u32_at(record, 0),
        logsumexp: f32_at(record, 4),
        top: (0..TOP).map(|i| (u32_at(record, 8 + 8 * i), f32_at(record, 12 + 8 * i))).collect(),
    });
    let mut steps: Vec<Step> = steps.collect();
    let mut prompts = Vec::new();
    while !steps.is_empty() {
        let rest = steps.split_off(STEPS);
        prompts.push(std::mem::replace(&mut steps, rest));
    }
    prompts
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}

fn max(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn argmax(values: &[f32]) -> usize {
    let max = max(values);
    values.iter().position(|value| *value == max).unwrap()
}

fn logsumexp(logits: &[f32]) -> f32 {
    let max = max(logits);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    max + sum.ln() as f32
}
