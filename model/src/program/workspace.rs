//! Where each buffer lives: buffers that are never alive together share memory.

use super::{ALIGNMENT, Bucket, Buffer, Op, Rows};

/// Gives every buffer its offset (first fit, in order of birth) and returns the bytes of the workspace.
///
/// What the head reads of the body stays alive to the end, because the head runs once a slice of outputs.
pub(super) fn place(body: &[Op], head: &[Op], buffers: &mut [Buffer], bucket: Bucket) -> usize {
    let lives = lives(body, head, buffers.len());
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| lives[index].first);
    let mut alive: Vec<Placed> = Vec::new();
    let mut workspace = 0;
    for index in order {
        let Life { first, last } = lives[index];
        alive.retain(|other| other.last >= first);
        let size = bytes(&buffers[index], bucket);
        let start = first_fit(&alive, size);
        buffers[index].offset = start;
        workspace = workspace.max(start + size);
        alive.push(Placed { start, end: start + size, last });
        alive.sort_unstable_by_key(|placed| placed.start);
    }
    workspace
}

/// A buffer that has its place, and the last operation that uses it.
struct Placed {
    start: usize,
    end: usize,
    last: usize,
}

/// The first and the last operation that uses a buffer.
#[derive(Clone)]
struct Life {
    first: usize,
    last: usize,
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

/// The first offset that leaves `size` bytes free among buffers ordered by offset.
fn first_fit(alive: &[Placed], size: usize) -> usize {
    let mut offset = 0;
    for placed in alive {
        if offset + size <= placed.start {
            break;
        }
        offset = offset.max(placed.end);
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
