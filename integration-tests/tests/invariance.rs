//! Batch invariance: what a request gets does not depend on its neighbours or on how its prompt is cut.

use gristmill_integration_tests::{demo, rig};
use gristmill_model::device::{Sampled, Slot};
use gristmill_model::sampling::Sampling;

const REQUESTS: usize = 200;
/// Tokens each request generates.
const NEW: usize = 8;
/// Longest prompt; the recorded ones are cut to lengths from 1 up to it.
const LONGEST: usize = 96;

/// A request and how its tokens are chosen: every other one is sampled with a seed of its own.
struct Request {
    prompt: Vec<u32>,
    sampling: Sampling,
}

/// Token ids with the bits of everything reported about them.
type Said = Vec<(u32, u32, Vec<(u32, u32)>)>;

#[test]
fn bytes_do_not_depend_on_batch_or_chunks() {
    let requests = requests();
    let mut rig = rig::Rig::new(demo::folder(), 32 * (LONGEST + NEW + 32));
    let alone: Vec<Said> = requests.iter().flat_map(|request| run(&mut rig, &[request], 512)).collect();
    for (batch, chunk) in [(32, 512), (7, 64), (19, 16)] {
        for (group, expected) in requests.chunks(batch).zip(alone.chunks(batch)) {
            let group: Vec<&Request> = group.iter().collect();
            assert_eq!(run(&mut rig, &group, chunk), expected, "batch {batch}, chunk {chunk}");
        }
    }
}

/// Runs requests together. Each prompt is computed in chunks while the others, shorter ones first, decode already.
fn run(rig: &mut rig::Rig, requests: &[&Request], chunk: usize) -> Vec<Said> {
    rig.clear();
    let mut rows: Vec<Row> = requests.iter().map(|request| Row::new(rig, request)).collect();
    while rows.iter().any(|row| row.said.len() < NEW) {
        let going: Vec<&mut Row> = rows.iter_mut().filter(|row| row.said.len() < NEW).collect();
        let step: Vec<_> = going.iter().map(|row| row.step(chunk)).collect();
        for ((row, output), step) in going.into_iter().zip(rig.step(&step)).zip(&step) {
            row.computed += step.len;
            row.said.extend(output.sampled.map(bits));
        }
    }
    rows.into_iter().map(|row| row.said).collect()
}

struct Row {
    slot: Slot,
    prompt: usize,
    computed: usize,
    said: Said,
}

impl Row {
    fn new(rig: &mut rig::Rig, request: &Request) -> Self {
        let slot = rig.admit(&request.prompt, NEW, request.sampling.clone());
        Self { slot, prompt: request.prompt.len(), computed: 0, said: Vec::new() }
    }

    fn step(&self, chunk: usize) -> gristmill_model::device::StepRow {
        let known = self.prompt + self.said.len();
        let end = known.min(self.computed + chunk);
        rig::row(self.slot, self.computed..end, end == known)
    }
}

fn bits(sampled: Sampled) -> (u32, u32, Vec<(u32, u32)>) {
    let top = sampled.top.into_iter().map(|(id, logprob)| (id, logprob.to_bits())).collect();
    (sampled.id, sampled.logprob.to_bits(), top)
}

fn requests() -> Vec<Request> {
    let prompts = demo::prompts();
    (0..REQUESTS)
        .map(|index| {
            let ids = &prompts[index % prompts.len()].ids;
            let len = (1 + index * 37 % LONGEST).min(ids.len());
            let start = (index * 11) % (ids.len() - len + 1);
            Request { prompt: ids[start..start + len].to_vec(), sampling: sampling(index) }
        })
        .collect()
}

fn sampling(index: usize) -> Sampling {
    let plain = Sampling { top_n: 3, ..Sampling::default() };
    match index % 4 {
        0 | 2 => plain,
        1 => Sampling { seed: Some(index as u64), temperature: 0.8, top_p: 0.9, ..plain },
        _ => Sampling { seed: Some(7 * index as u64), top_k: 40, repetition_penalty: 1.2, ..plain },
    }
}
