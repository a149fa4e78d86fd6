//! What each rank of a group holds: every value where the shard rules put it, and read from there.

use std::collections::HashMap;
use std::ops::Range;

use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::dtype::Dtype;
use gristmill_model::plan::kv_per_token;
use gristmill_model::rope::{Rope, Scaling};
use gristmill_model::spec::{Activation, ModelSpec, Norm};
use gristmill_model::weights::{LayerWeights, Part, Rank, SplitError, Weight, WeightId, Weights};
use proptest::prelude::*;

use crate::writer::{Folder, SINGLE, Safetensors, assert_refused};

fn model(heads: usize, kv_heads: usize, intermediate: usize) -> ModelSpec {
    ModelSpec {
        family: "llama".to_owned(),
        vocab: 11,
        hidden: 6,
        layers: 2,
        heads,
        kv_heads,
        head_dim: 2,
        intermediate,
        norm: Norm::Rms { eps: 1e-5 },
        activation: Activation::Silu,
        rope: Rope { theta: 10_000.0, dim: 2, scaling: Scaling::None },
        attention_scale: 1.0,
        attention_bias: true,
        mlp_bias: true,
        tied: false,
        max_positions: 64,
        dtype: Dtype::F32,
    }
}

/// Every tensor of a model and its shape, by name, worked out by hand.
fn tensors(spec: &ModelSpec) -> HashMap<String, Vec<usize>> {
    let (hidden, inner) = (spec.hidden, spec.intermediate);
    let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let mut all = HashMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![spec.vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ]);
    if !spec.tied {
        all.insert("lm_head.weight".to_owned(), vec![spec.vocab, hidden]);
    }
    for layer in 0..spec.layers {
        let mut add =
            |name: &str, shape: &[usize]| all.insert(format!("model.layers.{layer}.{name}"), shape.to_vec());
        add("input_layernorm.weight", &[hidden]);
        add("post_attention_layernorm.weight", &[hidden]);
        for (name, rows, cols, bias) in [
            ("self_attn.q_proj", q, hidden, spec.attention_bias),
            ("self_attn.k_proj", kv, hidden, spec.attention_bias),
            ("self_attn.v_proj", kv, hidden, spec.attention_bias),
            ("self_attn.o_proj", hidden, q, spec.attention_bias),
            ("mlp.gate_proj", inner, hidden, spec.mlp_bias),
            ("mlp.up_proj", inner, hidden, spec.mlp_bias),
            ("mlp.down_proj", hidden, inner, spec.mlp_bias),
        ] {
            add(&format!("{name}.weight"), &[rows, cols]);
            if bias {
                add(&format!("{name}.bias"), &[rows]);
            }
        }
    }
    all
}

/// A checkpoint whose every value is another whole number, and those of each tensor.
fn checkpoint(spec: &ModelSpec) -> (Folder, HashMap<String, Vec<f32>>) {
    let mut shapes: Vec<_> = tensors(spec).into_iter().collect();
    shapes.sort();
    let (mut file, mut values, mut next) = (Safetensors::default(), HashMap::new(), 0u16);
    for (name, shape) in shapes {
        let tensor: Vec<f32> =
            (0..shape.iter().product()).map(|n: usize| f32::from(next) + n as f32).collect();
        next += tensor.len() as u16;
        file = file.floats(&name, &shape, &tensor);
        values.insert(name, tensor);
    }
    let folder = Folder::new();
    folder.write(SINGLE, &file.bytes());
    (folder, values)
}

/// The values of a part, row by row, cut out of the whole tensor.
fn cut(part: &Part, whole: &[f32]) -> Vec<f32> {
    let width: usize = part.shape.iter().skip(1).product();
    part.rows.clone().flat_map(|row| &whole[row * width..][part.cols.clone()]).copied().collect()
}

fn read(weight: &Weight, checkpoint: &Checkpoint, rows: Range<usize>) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows.len() * weight.cols];
    weight.read(checkpoint, rows, &mut out).expect("reading");
    out
}

fn group(spec: &ModelSpec, world: usize) -> Vec<Weights> {
    (0..world).map(|index| Weights::new(spec, Rank { index, world }).expect("it divides")).collect()
}

/// How often the ranks together hold each value of each tensor.
fn coverage(spec: &ModelSpec, ranks: &[Weights]) -> HashMap<String, Vec<usize>> {
    let mut counts: HashMap<_, _> =
        tensors(spec).into_iter().map(|(name, shape)| (name, vec![0; shape.iter().product()])).collect();
    for part in ranks.iter().flat_map(Weights::iter).flat_map(|(_, weight)| &weight.parts) {
        let width: usize = part.shape.iter().skip(1).product();
        let counts = counts.get_mut(&part.tensor).expect("a tensor of the model");
        for (row, col) in part.rows.clone().flat_map(|row| part.cols.clone().map(move |col| (row, col))) {
            counts[row * width + col] += 1;
        }
    }
    counts
}

/// A model, and a number of ranks that divides it.
fn divided() -> impl Strategy<Value = (ModelSpec, usize)> {
    let heads = (1..=8usize, 1..=4usize).prop_map(|(kv, group)| (kv * group, kv));
    (heads, 1..=8usize, 0..9usize, any::<[bool; 3]>())
        .prop_filter("the heads must divide", |((heads, kv), world, ..)| {
            heads % world == 0 && (kv % world == 0 || world % kv == 0)
        })
        .prop_map(|((heads, kv), world, more, [attention_bias, mlp_bias, tied])| {
            (ModelSpec { attention_bias, mlp_bias, tied, ..model(heads, kv, world + more) }, world)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_ranks_hold_every_value_as_often_as_they_should((spec, world) in divided()) {
        let ranks = group(&spec, world);
        for (name, counts) in coverage(&spec, &ranks) {
            let summed_bias = name.ends_with("o_proj.bias") || name.ends_with("down_proj.bias");
            let expected = match name.as_str() {
                _ if name.contains("norm.") || name.starts_with("lm_head") || name.contains("embed") => world,
                _ if name.contains("k_proj") || name.contains("v_proj") => (world / spec.kv_heads).max(1),
                _ if summed_bias => 1,
                _ => 1,
            };
            prop_assert!(counts.iter().all(|count| *count == expected), "{}: {:?}, not {}", name, counts, expected);
        }
    }

    /// A head of queries is on the rank that has the keys it reads, in the same order.
    #[test]
    fn query_heads_meet_their_key_heads((spec, world) in divided()) {
        let group_size = spec.heads / spec.kv_heads;
        for weights in group(&spec, world) {
            let heads = weights.heads;
            prop_assert_eq!((heads.query, heads.dim), (spec.heads / world, spec.head_dim));
            for layer in &weights.layers {
                let qkv = weights.get(layer.qkv);
                prop_assert_eq!(qkv.rows, (heads.query + 2 * heads.kv) * heads.dim);
                prop_assert_eq!(weights.get(layer.out).cols, heads.query * heads.dim);
                let [q, k, v] = &qkv.parts[..] else { panic!("{:?}", qkv.parts) };
                prop_assert_eq!(&k.rows, &v.rows);
                for local in 0..heads.query {
                    let query = q.rows.start / heads.dim + local;
                    let key = k.rows.start / heads.dim + local / (heads.query / heads.kv);
                    prop_assert_eq!(query / group_size, key);
                }
            }
        }
    }

    #[test]
    fn every_rank_holds_about_its_share((spec, world) in divided()) {
        for (index, weights) in group(&spec, world).iter().enumerate() {
            let rank = Rank { index, world };
            let kv = kv_per_token(&spec, rank, Dtype::F32) as usize;
            prop_assert_eq!(kv, 2 * spec.layers * weights.heads.kv * spec.head_dim * 4);
            let divided = |layer: &LayerWeights| [layer.out, layer.gate_up, layer.down];
            for id in weights.layers.iter().flat_map(divided) {
                let whole: usize = weights.get(id).parts.iter().map(|part| part.shape.iter().product::<usize>()).sum();
                let (held, line) = (weights.get(id).len(), 2 * spec.hidden);
                prop_assert!(held * world <= whole + line * world, "{held} of {whole} on one of {world}");
                prop_assert!(held > 0);
            }
        }
    }

    #[test]
    fn rows_read_are_rows_of_the_whole((spec, world) in divided(), cuts in any::<[prop::sample::Index; 2]>()) {
        let (folder, values) = checkpoint(&spec);
        let checkpoint = folder.open().expect("a good file");
        for weights in group(&spec, world) {
            weights.check(&checkpoint).expect("all is there");
            for (_, weight) in weights.iter() {
                let whole: Vec<f32> = weight.parts.iter().flat_map(|part| cut(part, &values[&part.tensor])).collect();
                prop_assert_eq!(weight.len(), whole.len());
                prop_assert_eq!(&read(weight, &checkpoint, 0..weight.rows), &whole);
                let [a, b] = cuts.map(|cut| cut.index(weight.rows + 1));
                let (from, to) = (a.min(b), a.max(b));
                prop_assert_eq!(&read(weight, &checkpoint, from..to), &whole[from * weight.cols..to * weight.cols]);
            }
        }
    }
}

#[test]
fn matrices_and_vectors_are_told_apart() {
    let spec = ModelSpec { hidden: 1, ..model(2, 2, 1) };
    let weights = Weights::new(&spec, Rank::ALONE).expect("it divides");
    let vectors: Vec<_> =
        weights.iter().filter(|(_, weight)| weight.is_vector()).map(|(_, w)| w.name.as_str()).collect();
    let layer = |n: usize| {
        ["attention_norm", "qkv_bias", "out_bias", "mlp_norm", "gate_up_bias", "down_bias"]
            .map(|w| format!("layers.{n}.{w}"))
    };
    assert_eq!(vectors, [&layer(0)[..], &layer(1), &["norm".to_owned()]].concat());
    assert!(weights.iter().all(|(_, weight)| !weight.is_empty()));
}

#[test]
fn a_tied_head_is_the_embedding() {
    let weights = Weights::new(&ModelSpec { tied: true, ..model(2, 2, 4) }, Rank::ALONE).expect("it divides");
    assert_eq!(weights.head, weights.embedding);
    assert!(
        weights.iter().all(|(_, weight)| weight.parts.iter().all(|part| part.tensor != "lm_head.weight"))
    );
}

#[test]
fn groups_that_cannot_be_are_refused() {
    let refused = |heads, kv_heads, intermediate, world: usize| {
        Weights::new(&model(heads, kv_heads, intermediate), Rank { index: world - 1, world })
            .expect_err("refused")
    };
    let works = |text: &str| text.to_owned();
    let (heads, world) = (6, 4);
    assert_eq!(refused(6, 3, 96, 4), SplitError::Heads { heads, world, works: works("1, 3, 6") });
    assert_eq!(refused(6, 3, 96, 2), SplitError::KvHeads { kv_heads: 3, world: 2, works: works("1, 3, 6") });
    assert_eq!(refused(8, 8, 96, 16), SplitError::Heads { heads: 8, world: 16, works: works("1, 2, 4, 8") });
    assert_eq!(refused(9, 3, 1536, 2), SplitError::Heads { heads: 9, world: 2, works: works("1, 3, 9") });
    assert_eq!(refused(8, 2, 3, 8), SplitError::Size { size: 3, world: 8 });
    assert_eq!(refused(8, 2, 3, 16), SplitError::Heads { heads: 8, world: 16, works: works("1, 2") });
    let text = refused(6, 3, 96, 4).to_string();
    let upstream = "`num_heads` must be divisible by `num_shards` (got `num_heads`: 6 and `num_shards`: 4";
    assert!(text.starts_with(upstream) && text.ends_with("1, 3, 6"), "{text}");
    for (index, world) in [(1, 1), (2, 2), (7, 3), (0, 0), (5, 0), (usize::MAX, 1)] {
        let refused = Weights::new(&model(8, 2, 96), Rank { index, world });
        assert_eq!(refused.expect_err("refused"), SplitError::Rank { index, world });
    }
}

/// GKE's samples run one KV head on eight ranks.
#[test]
fn one_key_head_is_held_by_all() {
    for weights in group(&model(8, 1, 96), 8) {
        assert_eq!((weights.heads.query, weights.heads.kv), (1, 1));
        assert_eq!(weights.get(weights.layers[0].qkv).parts[1].rows, 0..2);
    }
}

#[test]
fn a_wrong_tensor_is_named() {
    let spec = model(4, 2, 8);
    let weights = Weights::new(&spec, Rank::ALONE).expect("it divides");
    for (wrong, shape) in tensors(&spec) {
        let checkpoint = |replace: &dyn Fn(Safetensors) -> Safetensors| {
            let mut file = Safetensors::default();
            for (name, shape) in tensors(&spec) {
                let values = vec![0.0; shape.iter().product()];
                file = if name == wrong { replace(file) } else { file.floats(&name, &shape, &values) };
            }
            let folder = Folder::new();
            folder.write(SINGLE, &file.bytes());
            weights.check(&folder.open().expect("a good file"))
        };
        let values = shape.iter().product::<usize>();
        assert_refused(checkpoint(&|file| file), &[&format!("weight {wrong} does not exist")]);
        let longer = [&[shape[0] + 1], &shape[1..]].concat();
        let zeros = vec![0.0; longer.iter().product()];
        let words = [SINGLE, &format!("tensor {wrong}: "), &format!("{longer:?}"), &format!("{shape:?}")];
        assert_refused(checkpoint(&|file| file.floats(&wrong, &longer, &zeros)), &words);
        let words = [SINGLE, &format!("tensor {wrong}: "), "dtype I32 is not served"];
        assert_refused(checkpoint(&|file| file.tensor(&wrong, "I32", &shape, &vec![0; 4 * values])), &words);
    }
}

/// Only a rank's own rows are read: the file may end where they end.
#[test]
fn a_rank_reads_its_own_part_only() {
    let spec = model(4, 4, 8);
    let ranks = group(&spec, 2);
    let qkv = |weights: &Weights| weights.get(weights.layers[0].qkv).clone();
    let down = |weights: &Weights| weights.get(weights.layers[0].down).clone();
    for (weight, is_split_by_columns) in [(&qkv as &dyn Fn(&Weights) -> Weight, false), (&down, true)] {
        let part = weight(&ranks[0]).parts[0].clone();
        let (shape, values) = (part.shape.clone(), part.shape.iter().product::<usize>());
        let folder = Folder::new();
        let bytes = Safetensors::default().floats(&part.tensor, &shape, &vec![1.0; values]).bytes();
        folder.write(SINGLE, &bytes);
        let checkpoint = folder.open().expect("a good file");
        let last = (part.rows.end - 1) * shape[1] + part.cols.end;
        folder.resize(SINGLE, (bytes.len() - 4 * (values - last)) as u64);
        for (index, fits) in [(0, true), (1, false)] {
            let part = &weight(&ranks[index]).parts[0];
            let mut out = vec![0.0; part.rows.len() * part.cols.len()];
            let read = checkpoint.read_rows(&part.tensor, part.rows.clone(), part.cols.clone(), &mut out);
            assert_eq!(read.is_ok(), fits, "rank {index}, {part:?}, columns: {is_split_by_columns}");
        }
    }
}

#[test]
fn ids_are_the_order_of_the_list() {
    let weights = Weights::new(&model(4, 2, 8), Rank::ALONE).expect("it divides");
    for (place, (id, weight)) in weights.iter().enumerate() {
        assert_eq!(id, WeightId(place));
        assert_eq!(weights.get(id), weight);
    }
}
