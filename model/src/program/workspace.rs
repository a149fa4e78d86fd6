//! Where each buffer lives: buffers that are never alive together share memory.

use std::cmp::Reverse;

use super::{ALIGNMENT, Bucket, Buffer, Op, Rows};

/// Gives every buffer its offset and returns the bytes of the workspace.
///
/// First fit, the longest-lived first and then the largest: the layers of a real model then take no more than the
/// largest operation of one of them needs. What the head reads of the body stays alive to the end, because the head
/// runs once a slice of outputs.
pub(super) fn place(body: &[Op], head: &[Op], buffers: &mut [Buffer], bucket: Bucket) -> usize {
    let lives = lives(body, head, buffers.len());
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| Reverse((lives[index].length(), bytes(&buffers[index], bucket))));
    let mut placed: Vec<(Life, usize, usize)> = Vec::new();
    for index in order {
        let size = bytes(&buffers[index], bucket);
        let offset = first_fit(&placed, lives[index], size);
        buffers[index].offset = offset;
        placed.push((lives[index], offset, size));
    }
    placed.iter().map(|(_, offset, size)| offset + size).max().unwrap_or(0)
}

/// The first and the last operation that uses a buffer.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

impl Life {
    fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn length(self) -> usize {
        self.last.saturating_sub(self.first)
    }
}

fn lives(body: &[Op], head: &[Op], buffers: usize) -> Vec<Life> {
    let mut lives = vec![Life { first: usize::MAX, last: 0 }; buffers];
    let end = body.len() + head.len();
    for (time, op) in body.iter().chain(head).enumerate() {
        let (read, written) = op.uses();
        for id in read.iter().chain(&written) {
            let life = &mut lives[id.0];
            life.first = life.first.min(time);
            life.last = if time >= body.len() && life.first < body.len() { end } else { life.last.max(time) };
        }
    }
    lives
}

/// The first offset that is free of the buffers alive at the same time.
fn first_fit(placed: &[(Life, usize, usize)], life: Life, size: usize) -> usize {
    let alive = placed.iter().filter(|(other, ..)| other.meets(life));
    let mut taken: Vec<(usize, usize)> = alive.map(|&(_, offset, size)| (offset, size)).collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (start, length) in taken {
        if offset + size <= start {
            break;
        }
        offset = offset.max(start + length);
    }
    offset
}

fn bytes(buffer: &Buffer, bucket: Bucket) -> usize {
    let rows = match buffer.rows {
        Rows::Tokens => bucket.tokens,
        Rows::Outputs => bucket.outputs,
    };
    (rows * buffer.width * buffer.dtype.bytes()).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dtype::Dtype;
    use crate::program::BufferId;
    use crate::spec::{Activation, Norm};
    use crate::weights::WeightId;

    const BUCKET: Bucket = Bucket { tokens: 3, outputs: 2 };

    /// A memory in bytes, and where each buffer lies in it.
    struct Machine<'a> {
        memory: Vec<u64>,
        buffers: &'a [Buffer],
    }

    impl Machine<'_> {
        /// All values of a buffer; its size is a multiple of the alignment, so of eight bytes too.
        fn values(&mut self, id: BufferId) -> &mut [u64] {
            let buffer = &self.buffers[id.0];
            &mut self.memory[buffer.offset / 8..][..bytes(buffer, BUCKET) / 8]
        }

        /// Writes what depends on every value that is read, and on the operation; gives back what was read.
        fn run(&mut self, op: &Op, salt: u64) -> u64 {
            let (read, written) = op.uses();
            let mut state = salt;
            for id in read {
                state = self.values(id).iter().fold(state, |state, value| mix(state ^ value));
            }
            for id in written {
                for value in self.values(id) {
                    state = mix(state);
                    *value = state;
                }
            }
            state
        }
    }

    fn mix(state: u64) -> u64 {
        (state ^ (state >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_add(1)
    }

    /// Everything that is read in a step with two slices of the body and two of the head for each.
    fn trace(body: &[Op], head: &[Op], buffers: &[Buffer], workspace: usize) -> Vec<u64> {
        let mut machine = Machine { memory: vec![7; workspace / 8], buffers };
        let slices = [body, head, head, body, head, head];
        let ops = slices.into_iter().flatten();
        ops.enumerate().map(|(time, op)| machine.run(op, time as u64)).collect()
    }

    /// Operations out of numbers: each reads buffers written before it, the head those of the body too.
    fn program(picks: &[(u8, usize, usize)], in_body: usize) -> (Vec<Op>, Vec<Op>, usize) {
        let (mut ops, mut made) = (Vec::new(), 1);
        ops.push(Op::Rotary { out: BufferId(0) });
        for &(kind, a, b) in picks {
            let (a, b, new) = (BufferId(a % made), BufferId(b % made), BufferId(made));
            ops.push(match kind % 7 {
                0 => Op::Rotary { out: new },
                1 => Op::Norm { norm: Norm::Rms { eps: 0.0 }, input: a, weight: WeightId(0), out: new },
                2 => Op::Select { input: a, out: new },
                3 => Op::Gate { activation: Activation::Silu, input: a, out: new },
                4 => Op::Add { input: a, into: b },
                5 => Op::Rope { qkv: a, rotary: b },
                _ => Op::StoreKv { qkv: a, layer: 0 },
            });
            made += usize::from(ops.last().is_some_and(|op| op.uses().1.contains(&new)));
        }
        let head = ops.split_off(1 + in_body.min(picks.len()));
        (ops, head, made)
    }

    fn buffers(count: usize, widths: &[(usize, bool)]) -> Vec<Buffer> {
        let widths = widths.iter().cycle().take(count);
        let rows = |tokens: bool| if tokens { Rows::Tokens } else { Rows::Outputs };
        widths
            .map(|&(width, tokens)| Buffer { rows: rows(tokens), width, dtype: Dtype::F32, offset: 0 })
            .collect()
    }

    /// Each buffer behind the one before.
    fn place_apart(buffers: &mut [Buffer]) -> usize {
        buffers.iter_mut().fold(0, |offset, buffer| {
            buffer.offset = offset;
            offset + bytes(buffer, BUCKET)
        })
    }

    proptest! {
        #[test]
        fn shared_memory_computes_what_separate_memory_does(
            picks in prop::collection::vec((any::<u8>(), 0..99usize, 0..99usize), 0..24),
            in_body in 0..24usize,
            widths in prop::collection::vec((1..200usize, any::<bool>()), 1..9),
        ) {
            let (body, head, count) = program(&picks, in_body);
            let mut shared = buffers(count, &widths);
            let mut apart = shared.clone();
            let workspace = place(&body, &head, &mut shared, BUCKET);
            let separate = place_apart(&mut apart);
            prop_assert!(workspace <= separate);
            prop_assert!(shared.iter().all(|buffer| buffer.offset % ALIGNMENT == 0));
            prop_assert_eq!(trace(&body, &head, &shared, workspace), trace(&body, &head, &apart, separate));
        }
    }

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(place(&[], &[], &mut [], BUCKET), 0);
    }
}
