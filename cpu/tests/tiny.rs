//! Recorded tiny checkpoints: what the reference computed, the device computes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use gristmill_cpu::{CpuConfig, CpuDevice};
use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::{Admission, Device, KvSpec, RowOutput, Slot, StepRow};
use gristmill_model::dtype::Dtype;
use gristmill_model::families;
use gristmill_model::program::{Bucket, Program};
use gristmill_model::sampling::Sampling;
use gristmill_model::weights::{Rank, Weights};
use serde_json::Value;

/// Share of the logits' range by which they may differ.
const TOLERANCE: f32 = 1e-4;

fn folders() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/data/tiny");
    let mut folders: Vec<_> = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("expected.json").is_file());
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

fn device(folder: &Path, kv: Dtype) -> CpuDevice {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let spec = families::spec(checkpoint.config()).unwrap();
    let weights = Weights::new(&spec, Rank::ALONE).unwrap();
    weights.check(&checkpoint).unwrap();
    let program = Program::decoder(&spec, &weights, Bucket { tokens: 64, outputs: 8 }, Dtype::F32);
    let config = CpuConfig { threads: 2, weights: spec.dtype, kv: KvSpec { blocks: 64, dtype: kv } };
    CpuDevice::new(config, &spec, &weights, program, &checkpoint).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn step(device: &mut CpuDevice, start: usize, len: usize) -> RowOutput {
    let row = StepRow { slot: Slot(0), start, len, sample: true, prompt_logprobs: false, logits: true };
    let ticket = device.submit(&[row]).unwrap();
    device.collect(ticket).unwrap().remove(0)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln()
}

fn check(name: &str, device: &mut CpuDevice, case: &Value, tolerance: f32) {
    let (prompt, greedy) = (ids(&case["ids"]), ids(&case["greedy"]));
    let (expected, sums) = (numbers(&case["last_logits"]), numbers(&case["step_logsumexp"]));
    let blocks: Vec<u32> = (1..=(prompt.len() + greedy.len()).div_ceil(16) as u32).rev().collect();
    let admission = Admission { prompt: &prompt, blocks: &blocks, cached: 0, sampling: Sampling::default() };
    device.admit(Slot(0), &admission).unwrap();
    let mut output = step(device, 0, prompt.len());
    let (low, high) = expected.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let allowed = tolerance * (high - low);
    for (id, (ours, theirs)) in output.logits.iter().zip(&expected).enumerate() {
        assert!(
            (ours - theirs).abs() < allowed,
            "{name}, {} tokens, logit {id}: {ours} {theirs}",
            prompt.len()
        );
    }
    for (index, (id, sum)) in greedy.iter().zip(&sums).enumerate() {
        assert_eq!(output.sampled.unwrap().id, *id, "{name}, {} tokens, step {index}", prompt.len());
        let ours = log_sum_exp(&output.logits);
        assert!((ours - f64::from(*sum)).abs() < f64::from(allowed), "{name} step {index}: {ours} {sum}");
        output = step(device, prompt.len() + index, 1);
    }
}

#[test]
fn recorded_logits_and_greedy_choices() {
    for folder in folders() {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let mut device = device(&folder, Dtype::F32);
        for case in expected["cases"].as_array().unwrap() {
            check(&folder.display().to_string(), &mut device, case, TOLERANCE);
        }
    }
}
