//! The device from outside, on a small random model: the same bits however the work is cut, and clear refusals.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use gristmill_cpu::{CpuConfig, CpuDevice};
use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::{
    Admission, Device, DeviceError, KvSpec, RowOutput, Sampled, Slot, StepRow, Ticket,
};
use gristmill_model::dtype::Dtype;
use gristmill_model::families;
use gristmill_model::program::{Bucket, Program};
use gristmill_model::sampling::{Sampling, Watermark};
use gristmill_model::weights::{Rank, Weights};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

const VOCAB: usize = 300;
/// Blocks a row may have in these tests.
const TABLE: u32 = 8;

/// A model of odd sizes: heads of 20 values, panels that are not full.
fn write_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 72, "intermediate_size": 90, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 20, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
        "attention_bias": true, "tie_word_embeddings": true, "torch_dtype": "float32", "max_position_embeddings": 64,
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, 72]),
        ("model.norm.weight".to_owned(), vec![72]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("self_attn.q_proj.weight", vec![120, 72]),
            ("self_attn.k_proj.weight", vec![40, 72]),
            ("self_attn.v_proj.weight", vec![40, 72]),
            ("self_attn.o_proj.weight", vec![72, 120]),
            ("self_attn.q_proj.bias", vec![120]),
            ("self_attn.k_proj.bias", vec![40]),
            ("self_attn.v_proj.bias", vec![40]),
            ("self_attn.o_proj.bias", vec![72]),
            ("mlp.gate_proj.weight", vec![90, 72]),
            ("mlp.up_proj.weight", vec![90, 72]),
            ("mlp.down_proj.weight", vec![72, 90]),
            ("input_layernorm.weight", vec![72]),
            ("post_attention_layernorm.weight", vec![72]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}"), shape));
        }
    }
    write_tensors(&folder.path().join("model.safetensors"), &tensors);
    folder
}

fn write_tensors(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let (mut header, mut data, mut state) = (serde_json::Map::new(), Vec::new(), 1u32);
    for (name, shape) in tensors {
        let start = data.len();
        for _ in 0..shape.iter().product() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.4;
            data.extend(value.to_le_bytes());
        }
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(path, file).unwrap();
}

/// What differs between devices that must agree.
#[derive(Clone, Copy, Debug)]
struct Setup {
    threads: usize,
    tokens: usize,
    outputs: usize,
    weights: Dtype,
    kv: Dtype,
}

const PLAIN: Setup = Setup { threads: 1, tokens: 256, outputs: 256, weights: Dtype::F32, kv: Dtype::F32 };

fn build(
    folder: &Path,
    setup: Setup,
    blocks: usize,
    change: impl FnOnce(&mut Program),
) -> Result<CpuDevice, DeviceError> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let spec = families::spec(checkpoint.config()).unwrap();
    let weights = Weights::new(&spec, Rank::ALONE).unwrap();
    weights.check(&checkpoint).unwrap();
    let bucket = Bucket { tokens: setup.tokens, outputs: setup.outputs };
    let mut program = Program::decoder(&spec, &weights, bucket, Dtype::F32);
    change(&mut program);
    let kv = KvSpec { blocks, dtype: setup.kv };
    let config = CpuConfig { threads: setup.threads, weights: setup.weights, kv };
    CpuDevice::new(config, &spec, &weights, program, &checkpoint)
}

fn device(setup: Setup) -> CpuDevice {
    build(write_model().path(), setup, 64, |_| {}).unwrap()
}

fn row(slot: u32, start: usize, len: usize, sample: bool) -> StepRow {
    StepRow { slot: Slot(slot), start, len, sample, prompt_logprobs: false, logits: true }
}

fn run(device: &mut CpuDevice, rows: &[StepRow]) -> Vec<RowOutput> {
    let ticket = device.submit(rows).unwrap();
    device.collect(ticket).unwrap()
}

fn prompt(seed: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| ((seed * 31 + i * i * 7 + i) % VOCAB) as u32).collect()
}

/// Blocks of a slot, not in order.
fn blocks(slot: u32) -> Vec<u32> {
    (0..TABLE).map(|block| 1 + (block * 5 + slot * TABLE) % (7 * TABLE)).collect()
}

fn admit(
    device: &mut CpuDevice,
    slot: u32,
    prompt: &[u32],
    cached: usize,
    sampling: &Sampling,
) -> Result<(), DeviceError> {
    let blocks = blocks(slot);
    device.admit(Slot(slot), &Admission { prompt, blocks: &blocks, cached, sampling: sampling.clone() })
}

/// A request as the shard would run it.
#[derive(Clone, Debug)]
struct Request {
    prompt: Vec<u32>,
    /// Prompt tokens a step.
    chunk: usize,
    /// Steps it waits before it starts.
    delay: usize,
    new_tokens: usize,
    sampling: Sampling,
}

/// Everything a row answered, with floats as bits.
type Answer = Vec<(Sampled, Vec<u32>)>;

/// Runs requests side by side, each step with whatever is due, as a batching shard does.
fn serve(device: &mut CpuDevice, requests: &[Request]) -> Vec<Answer> {
    let mut answers = vec![Answer::new(); requests.len()];
    let mut positions = vec![0; requests.len()];
    for (slot, request) in requests.iter().enumerate() {
        admit(device, slot as u32, &request.prompt, 0, &request.sampling).unwrap();
    }
    for time in 0.. {
        let mut rows = Vec::new();
        for (slot, request) in requests.iter().enumerate().filter(|(_, request)| request.delay <= time) {
            let left = request.prompt.len().saturating_sub(positions[slot]);
            if left == 0 && answers[slot].len() == request.new_tokens {
                continue;
            }
            let len = left.clamp(1, request.chunk);
            rows.push(row(slot as u32, positions[slot], len, left <= request.chunk));
            positions[slot] += len;
        }
        if rows.is_empty() && requests.iter().all(|request| request.delay <= time) {
            return answers;
        }
        for (row, output) in rows.iter().zip(run(device, &rows)) {
            if let Some(sampled) = output.sampled {
                let logits = output.logits.iter().map(|logit| logit.to_bits()).collect();
                answers[row.slot.0 as usize].push((sampled, logits));
            }
        }
    }
    answers
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let warm = (0.5f32..2.0, prop_oneof![Just(0u32), 1u32..50], 0.5f32..1.0, 0.5f32..1.0);
    let penalties =
        (prop_oneof![Just(1.0f32), 1.0f32..1.5], prop_oneof![Just(0.0f32), 0.0f32..2.0], any::<bool>());
    (prop::option::of((any::<u64>(), warm)), penalties, 0u32..4).prop_map(|(seeded, penalties, top_n)| {
        let (repetition_penalty, frequency_penalty, marked) = penalties;
        let watermark = marked.then_some(Watermark { gamma: 0.5, delta: 2.0 });
        let base =
            Sampling { repetition_penalty, frequency_penalty, watermark, top_n, ..Sampling::default() };
        match seeded {
            Some((seed, (temperature, top_k, top_p, typical_p))) => {
                Sampling { seed: Some(seed), temperature, top_k, top_p, typical_p, ..base }
            }
            None => base,
        }
    })
}

fn request() -> impl Strategy<Value = Request> {
    (0usize..1000, 1usize..90, 1usize..100, 0usize..6, 1usize..6, sampling()).prop_map(
        |(seed, len, chunk, delay, new_tokens, sampling)| Request {
            prompt: prompt(seed, len),
            chunk,
            delay,
            new_tokens,
            sampling,
        },
    )
}

fn dtype() -> impl Strategy<Value = Dtype> {
    prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::Bf16)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]
    /// The law: neighbours, chunks, slices and threads change no bit of an answer.
    #[test]
    fn a_batch_answers_as_each_alone(
        requests in prop::collection::vec(request(), 1..7),
        (threads, tokens, outputs) in (1usize..4, 1usize..100, 1usize..5),
        (weights, kv) in (dtype(), dtype()),
    ) {
        let together = serve(&mut device(Setup { threads, tokens, outputs, weights, kv }), &requests);
        let mut alone = device(Setup { weights, kv, ..PLAIN });
        for (request, answer) in requests.iter().zip(&together) {
            let whole = Request { chunk: 1000, delay: 0, ..request.clone() };
            prop_assert_eq!(&serve(&mut alone, &[whole])[0], answer);
        }
    }
}

#[test]
fn a_cached_prefix_answers_as_a_computed_one() {
    let ids = prompt(5, 70);
    let mut device = device(Setup { kv: Dtype::Bf16, ..PLAIN });
    admit(&mut device, 0, &ids, 0, &Sampling::default()).unwrap();
    let whole = run(&mut device, &[row(0, 0, 70, true)]).remove(0);
    for (cached, start) in [(64, 64), (32, 32), (69, 69), (70, 69), (64, 50)] {
        admit(&mut device, 0, &ids, cached, &Sampling::default()).unwrap();
        assert_eq!(run(&mut device, &[row(0, start, 70 - start, true)]).remove(0), whole, "{cached} {start}");
    }
}

#[test]
fn cached_positions_are_never_written() {
    let mut device = device(PLAIN);
    let answer = |device: &mut CpuDevice| {
        admit(device, 0, &prompt(5, 40), 32, &Sampling::default()).unwrap();
        run(device, &[row(0, 32, 8, true)]).remove(0)
    };
    admit(&mut device, 0, &prompt(5, 40), 0, &Sampling::default()).unwrap();
    run(&mut device, &[row(0, 0, 32, false)]);
    let before = answer(&mut device);
    admit(&mut device, 0, &prompt(6, 40), 32, &Sampling::default()).unwrap();
    run(&mut device, &[row(0, 0, 32, false)]);
    assert_eq!(answer(&mut device), before);
    admit(&mut device, 0, &prompt(6, 40), 0, &Sampling::default()).unwrap();
    run(&mut device, &[row(0, 0, 32, false)]);
    assert_ne!(answer(&mut device), before);
}

#[test]
fn prompt_logprobs_are_those_of_the_raw_logits() {
    let (ids, sampling) = (prompt(3, 37), Sampling { temperature: 0.1, ..Sampling::default() });
    let mut device = device(Setup { tokens: 11, outputs: 4, ..PLAIN });
    let mut expected = Vec::new();
    admit(&mut device, 0, &ids, 0, &sampling).unwrap();
    for position in 0..36 {
        let logits = run(&mut device, &[row(0, position, 1, false)]).remove(0).logits;
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        expected.push(f64::from(logits[ids[position + 1] as usize]) - sum.ln());
    }
    admit(&mut device, 0, &ids, 0, &sampling).unwrap();
    let mut found = Vec::new();
    for (start, len) in [(0, 20), (20, 17)] {
        let step = StepRow { prompt_logprobs: true, logits: false, ..row(0, start, len, start == 20) };
        let output = run(&mut device, &[step]).remove(0);
        assert_eq!((output.sampled.is_some(), output.logits.len()), (start == 20, 0));
        found.extend(output.prompt_logprobs);
    }
    assert_eq!(found.len(), 36);
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn halves_stay_near_floats() {
    let logits = |weights, kv| {
        let mut device = device(Setup { weights, kv, ..PLAIN });
        admit(&mut device, 0, &prompt(9, 50), 0, &Sampling::default()).unwrap();
        run(&mut device, &[row(0, 0, 50, true)]).remove(0).logits
    };
    let exact = logits(Dtype::F32, Dtype::F32);
    let (low, high) = exact.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    for (weights, kv, tolerance) in [(Dtype::F16, Dtype::F16, 5e-3), (Dtype::F32, Dtype::Bf16, 3e-2)] {
        let found = logits(weights, kv);
        assert_ne!(found, exact);
        let worst = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < tolerance * (high - low), "{weights} {kv}: {worst}");
    }
}

fn refusal<T>(result: Result<T, DeviceError>) -> String {
    match result {
        Err(DeviceError::Refused(problem)) => problem,
        Err(other) => panic!("not a refusal: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn bad_rows_are_not_admitted() {
    let mut device = device(PLAIN);
    let mut refused = |prompt: &[u32], blocks: &[u32], cached, sampling: Sampling| {
        refusal(device.admit(Slot(0), &Admission { prompt, blocks, cached, sampling }))
    };
    let usual = Sampling::default;
    assert_eq!(refused(&[], &[1], 0, usual()), "prompt is empty");
    assert_eq!(
        refused(&[1, 300], &[1], 0, usual()),
        "prompt: token id 300 is not below the vocabulary of 300"
    );
    assert_eq!(refused(&[1], &[1, 64], 0, usual()), "blocks: block 64 is not below the cache's 64");
    assert_eq!(
        refused(&[1], &[1], 2, usual()),
        "cached: 2 positions, but the prompt has 1 tokens in 1 blocks"
    );
    let cold = Sampling { temperature: 0.0, ..usual() };
    assert_eq!(refused(&[1], &[1], 0, cold), "sampling: temperature is 0");
    let odd = Sampling { top_p: f32::NAN, ..usual() };
    assert_eq!(refused(&[1], &[1], 0, odd), "sampling: top_p is NaN");
    assert_eq!(refusal(device.submit(&[row(0, 0, 1, true)])), "slot 0: is empty");
}

#[test]
fn bad_steps_are_refused_and_change_nothing() {
    let mut device = device(PLAIN);
    let ids = prompt(1, 20);
    admit(&mut device, 0, &ids, 0, &Sampling::default()).unwrap();
    admit(&mut device, 1, &ids, 0, &Sampling::default()).unwrap();
    let short = Admission { prompt: &ids, blocks: &[1], cached: 0, sampling: Sampling::default() };
    device.admit(Slot(2), &short).unwrap();
    let good = row(1, 0, 20, true);
    let mut refused = |rows: &[StepRow]| refusal(device.submit(rows));
    assert_eq!(refused(&[good, row(7, 0, 1, false)]), "slot 7: is empty");
    assert_eq!(refused(&[good, row(0, 0, 21, true)]), "slot 0: 21 positions from 0, but 20 tokens are known");
    assert_eq!(refused(&[good, row(0, 0, 0, false)]), "slot 0: 0 positions from 0, but 20 tokens are known");
    let far = row(0, usize::MAX, 2, false);
    assert_eq!(
        refused(&[good, far]),
        format!("slot 0: 2 positions from {}, but 20 tokens are known", usize::MAX)
    );
    assert_eq!(
        refused(&[good, row(0, 3, 2, false)]),
        "slot 0: start 3 leaves a gap after the 0 positions computed"
    );
    assert_eq!(refused(&[good, row(2, 0, 17, false)]), "slot 2: 1 blocks do not cover 17 positions");
    assert_eq!(
        refused(&[good, row(0, 0, 19, true)]),
        "slot 0: a token is wanted after position 18, but 20 tokens are known"
    );
    assert_eq!(refused(&[good, good]), "slot 1: twice in one step");
    assert_eq!(run(&mut device, &[good]).len(), 1);
    assert_eq!(run(&mut device, &[row(1, 20, 1, true)]).len(), 1);
}

#[test]
fn a_retired_slot_is_empty_and_a_ticket_is_good_once() {
    let mut device = device(PLAIN);
    admit(&mut device, 3, &prompt(1, 4), 0, &Sampling::default()).unwrap();
    let first = device.submit(&[row(3, 0, 4, true)]).unwrap();
    let second = device.submit(&[row(3, 4, 1, true)]).unwrap();
    device.retire(Slot(3));
    assert_eq!(refusal(device.submit(&[row(3, 5, 1, true)])), "slot 3: is empty");
    assert_eq!(device.collect(second).unwrap().len(), 1);
    let Ticket(number) = first;
    assert_eq!(device.collect(Ticket(number)).unwrap().len(), 1);
    assert_eq!(refusal(device.collect(Ticket(number))), format!("ticket {number}: no such step is waiting"));
}

#[test]
fn an_empty_step_has_no_outputs() {
    assert_eq!(run(&mut device(PLAIN), &[]), []);
}

#[test]
fn a_cache_that_cannot_be_had_is_an_error() {
    let result = build(write_model().path(), PLAIN, 1 << 40, |_| {});
    let bytes = (2 * 2 * 2 * 16 * 20 * 4usize) << 40;
    assert_eq!(result.err().unwrap().to_string(), format!("cannot allocate {bytes} bytes for the KV cache"));
}

#[test]
fn programs_for_other_devices_are_refused() {
    let problem =
        refusal(build(write_model().path(), PLAIN, 8, |program| program.buffers[0].dtype = Dtype::F16));
    assert!(problem.starts_with("program: buffer 0 "), "{problem}");
    let problem = refusal(build(write_model().path(), PLAIN, 8, |program| program.workspace /= 2));
    assert!(problem.starts_with("program: buffer "), "{problem}");
}

#[test]
fn a_step_that_panics_loses_the_device() {
    let narrow = |program: &mut Program| program.buffers[4].width /= 2;
    let mut device = build(write_model().path(), Setup { threads: 2, ..PLAIN }, 64, narrow).unwrap();
    admit(&mut device, 0, &prompt(1, 30), 0, &Sampling::default()).unwrap();
    let error = device.submit(&[row(0, 0, 30, true)]).unwrap_err();
    assert!(error.to_string().starts_with("device lost: a thread panicked: "), "{error}");
    assert_eq!(device.submit(&[]).unwrap_err().to_string(), error.to_string());
    let again = admit(&mut device, 0, &prompt(1, 30), 0, &Sampling::default()).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = write_model();
    write_tensors(
        &folder.path().join("model.safetensors"),
        &[("model.embed_tokens.weight".to_owned(), vec![VOCAB, 72])],
    );
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let spec = families::spec(checkpoint.config()).unwrap();
    let weights = Weights::new(&spec, Rank::ALONE).unwrap();
    let program = Program::decoder(&spec, &weights, Bucket { tokens: 8, outputs: 8 }, Dtype::F32);
    let config = CpuConfig { threads: 1, weights: Dtype::F32, kv: KvSpec { blocks: 2, dtype: Dtype::F32 } };
    let error = CpuDevice::new(config, &spec, &weights, program, &checkpoint).err().unwrap().to_string();
    assert!(error.contains("weight model.layers.0.input_layernorm.weight does not exist"), "{error}");
}
