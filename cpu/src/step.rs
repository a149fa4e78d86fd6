//! A step cut into slices that fit the workspace.
//!
//! The tokens of a step's rows follow each other in the order of the rows. A slice takes the next ones up to its
//! capacity; a row that is longer goes on in the next slice.

use std::ops::Range;

use gristmill_model::device::{BLOCK_SIZE, StepRow};

use crate::row::Row;

/// Tokens of one row that one attention job takes.
pub(crate) const PIECE: usize = 16;

/// A token to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) position: usize,
    /// Where its key and value live.
    pub(crate) block: u32,
    /// Whether they are to be written.
    pub(crate) fresh: bool,
    /// Tokens of its sequence, as rotary scaling counts them.
    pub(crate) length: usize,
}

/// Tokens of a slice that follow each other in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First token in the slice.
    pub(crate) first: usize,
    pub(crate) tokens: usize,
    /// Position of the first token.
    pub(crate) start: usize,
    /// The row's blocks, in [`Slice::tables`].
    pub(crate) table: Range<usize>,
}

/// A position whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Token in the slice.
    pub(crate) token: usize,
    /// Row of the step.
    pub(crate) row: usize,
    /// Whether the next token is sampled.
    pub(crate) sample: bool,
    /// The prompt token whose log-probability is wanted.
    pub(crate) target: Option<u32>,
    /// Whether the raw logits are wanted.
    pub(crate) logits: bool,
}

/// The tokens of one pass through the body.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub(crate) tokens: Vec<Token>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) tables: Vec<u32>,
    pub(crate) outputs: Vec<Output>,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Row of the step.
    row: usize,
    /// Tokens of that row already done.
    done: usize,
}

impl Slice {
    /// Takes the next tokens, at most `capacity`; false when none are left.
    pub(crate) fn fill(
        &mut self,
        rows: &[(StepRow, &Row)],
        progress: &mut Progress,
        capacity: usize,
    ) -> bool {
        self.tokens.clear();
        self.pieces.clear();
        self.tables.clear();
        self.outputs.clear();
        while self.tokens.len() < capacity
            && let Some((step, row)) = rows.get(progress.row)
        {
            let count = (step.len - progress.done).min(capacity - self.tokens.len());
            let start = step.start + progress.done;
            self.outputs(progress.row, step, row, start..start + count);
            self.pieces(row, start..start + count);
            self.tokens.extend((start..start + count).map(|position| token(row, position)));
            progress.done += count;
            if progress.done == step.len {
                *progress = Progress { row: progress.row + 1, done: 0 };
            }
        }
        !self.tokens.is_empty()
    }

    fn pieces(&mut self, row: &Row, positions: Range<usize>) {
        let table = self.tables.len()..self.tables.len() + positions.end.div_ceil(BLOCK_SIZE);
        self.tables.extend_from_slice(&row.blocks[..table.len()]);
        for start in positions.clone().step_by(PIECE) {
            let tokens = PIECE.min(positions.end - start);
            let first = self.tokens.len() + start - positions.start;
            self.pieces.push(Piece { first, tokens, start, table: table.clone() });
        }
    }

    fn outputs(&mut self, index: usize, step: &StepRow, row: &Row, positions: Range<usize>) {
        for position in positions.clone() {
            let last = position + 1 == step.start + step.len;
            let target = row.prompt().get(position + 1).copied().filter(|_| step.prompt_logprobs);
            let (sample, logits) = (last && step.sample, last && step.logits);
            if sample || logits || target.is_some() {
                let token = self.tokens.len() + position - positions.start;
                self.outputs.push(Output { token, row: index, sample, target, logits });
            }
        }
    }
}

fn token(row: &Row, position: usize) -> Token {
    Token {
        id: row.history.tokens()[position],
        position,
        block: row.blocks[position / BLOCK_SIZE],
        fresh: position >= row.cached,
        length: row.prompt().len().max(position + 1),
    }
}
