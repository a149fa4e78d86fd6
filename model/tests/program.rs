//! The decoder as a program: whatever the model, buffers that are alive together never meet, and the workspace is
//! what is needed.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use gristmill_model::dtype::Dtype;
use gristmill_model::program::{ALIGNMENT, Bucket, Buffer, Op, Program, Rows};
use gristmill_model::rope::{Rope, Scaling};
use gristmill_model::spec::{Activation, ModelSpec, Norm};
use gristmill_model::weights::{Rank, Weights};
use proptest::prelude::*;

fn model(
    [hidden, layers, kv_heads, group, head_dim, intermediate, vocab]: [usize; 7],
    bias: bool,
) -> ModelSpec {
    ModelSpec {
        family: "llama".to_owned(),
        vocab,
        hidden,
        layers,
        heads: kv_heads * group,
        kv_heads,
        head_dim,
        intermediate,
        norm: Norm::Rms { eps: 1e-5 },
        activation: Activation::Silu,
        rope: Rope { theta: 10_000.0, dim: head_dim, scaling: Scaling::None },
        attention_scale: 1.0,
        attention_bias: bias,
        mlp_bias: bias,
        tied: true,
        max_positions: 64,
        dtype: Dtype::F32,
    }
}

fn decoders() -> impl Strategy<Value = Program> {
    let numbers = (1..300usize, 1..6usize, 1..4usize, 1..4usize, 1..40usize, 1..900usize, 1..900usize);
    let bucket = (1..600usize, 1..70usize).prop_map(|(tokens, outputs)| Bucket { tokens, outputs });
    (numbers, bucket, any::<bool>(), any::<bool>()).prop_map(|((a, b, c, d, e, f, g), bucket, bias, wide)| {
        let spec = model([a, b, c, d, 2 * e, f, g], bias);
        let weights = Weights::new(&spec, Rank::ALONE).expect("one rank");
        Program::decoder(&spec, &weights, bucket, if wide { Dtype::F32 } else { Dtype::Bf16 })
    })
}

fn bytes(program: &Program, buffer: &Buffer) -> usize {
    let rows = match buffer.rows {
        Rows::Tokens => program.bucket.tokens,
        Rows::Outputs => program.bucket.outputs,
    };
    (rows * buffer.width * buffer.dtype.bytes()).next_multiple_of(ALIGNMENT)
}

/// Whether a buffer's content is needed at, or made by, an operation: naively, something made before or there is
/// read there or later, where the head counts as running twice.
fn alive(program: &Program, buffer: usize) -> Vec<bool> {
    let times: Vec<&Op> = program.body.iter().chain(&program.head).chain(&program.head).collect();
    let uses = |op: &Op| {
        let (read, written) = op.uses();
        (read.iter().any(|id| id.0 == buffer), written.iter().any(|id| id.0 == buffer))
    };
    let made = |time: usize| times[..=time].iter().any(|op| uses(op).1);
    let read = |time: usize| {
        times[time + 1..].iter().enumerate().any(|(later, op)| {
            let again = times[time + 1..time + 1 + later].iter().any(|op| uses(op).1 && !uses(op).0);
            uses(op).0 && !again
        })
    };
    let used = |time: usize| uses(times[time]).0 || uses(times[time]).1;
    (0..times.len()).map(|time| used(time) || made(time) && read(time)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn buffers_alive_together_never_meet(program in decoders()) {
        let times: Vec<Vec<bool>> = (0..program.buffers.len()).map(|buffer| alive(&program, buffer)).collect();
        let spans: Vec<_> =
            program.buffers.iter().map(|buffer| (buffer.offset, buffer.offset + bytes(&program, buffer))).collect();
        for (a, b) in (0..spans.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let together = times[a].iter().zip(&times[b]).any(|(a, b)| *a && *b);
            let meet = spans[a].0 < spans[b].1 && spans[b].0 < spans[a].1;
            prop_assert!(!(together && meet), "{a} at {:?}, {b} at {:?}", spans[a], spans[b]);
        }
        prop_assert!(program.buffers.iter().all(|buffer| buffer.offset % ALIGNMENT == 0));
        prop_assert_eq!(spans.iter().map(|(_, end)| *end).max(), Some(program.workspace));
    }

    /// The workspace is at least the most that is alive at once, and never much above.
    #[test]
    fn the_workspace_is_what_is_needed(program in decoders()) {
        let times: Vec<Vec<bool>> = (0..program.buffers.len()).map(|buffer| alive(&program, buffer)).collect();
        let needed = (0..times[0].len()).map(|time| {
            let alive = program.buffers.iter().zip(&times).filter(|(_, times)| times[time]);
            alive.map(|(buffer, _)| bytes(&program, buffer)).sum::<usize>()
        });
        let needed = needed.max().expect("operations");
        prop_assert!(program.workspace >= needed, "{} of {needed}", program.workspace);
        prop_assert!(program.workspace <= needed + needed / 2, "{} of {needed}", program.workspace);
    }

    /// What is read was written before, layers go up, and every weight of a layer is used once.
    #[test]
    fn what_is_read_was_written(program in decoders()) {
        let mut written = vec![false; program.buffers.len()];
        for op in program.body.iter().chain(&program.head) {
            let (read, writes) = op.uses();
            prop_assert!(read.iter().all(|id| written[id.0]), "{op:?}");
            writes.iter().for_each(|id| written[id.0] = true);
        }
        prop_assert!(written.iter().all(|written| *written));
        let layers: Vec<usize> = program.body.iter().filter_map(|op| match op {
            Op::Attend { layer, .. } => Some(*layer),
            _ => None,
        }).collect();
        prop_assert_eq!(&layers, &(0..layers.len()).collect::<Vec<_>>());
        let ids = program.body.iter().chain(&program.head).filter_map(|op| match op {
            Op::Linear { weight, .. } | Op::Norm { weight, .. } => Some(weight.0),
            _ => None,
        });
        let mut ids: Vec<usize> = ids.collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), all);
    }
}

/// Llama 3 8B and SmolLM2-135M: each layer works where the others do, and nothing lies idle between buffers.
#[test]
fn real_models_need_no_more_than_their_largest_operation() {
    const TOKENS: usize = 512;
    for ([hidden, layers, kv, group, dim, inner, vocab], bias) in
        [([4096, 32, 8, 4, 128, 14336, 128_256], false), ([576, 30, 3, 3, 64, 1536, 49_152], false)]
    {
        let spec = model([hidden, layers, kv, group, dim, inner, vocab], bias);
        let weights = Weights::new(&spec, Rank::ALONE).expect("one rank");
        let program = Program::decoder(&spec, &weights, Bucket { tokens: TOKENS, outputs: 64 }, Dtype::F32);
        // Residual stream, angles, gate and up, and what they make; or residual stream, its norm, and logits.
        let gated = hidden + dim + 3 * inner;
        let logits = hidden * TOKENS + (hidden + vocab) * 64;
        assert_eq!(program.workspace, 4 * (gated * TOKENS).max(logits));
    }
}
