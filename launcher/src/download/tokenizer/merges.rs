//! The merges of a BPE tokenizer, first applied first.

use std::collections::HashMap;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::{Header, Strings};

use crate::download::vocabulary::Vocabulary;

/// Bytes of a SentencePiece token that is cut into pairs; pieces in use are at most 48 bytes long. Every cut is
/// looked up, so the work grows with the square of this.
const MAX_PIECE_BYTES: usize = 256;

/// A pair of tokens that become one.
pub(super) type Merge<'a> = (&'a str, &'a str);

/// The merges as the file lists them: two tokens with a space between.
pub(super) fn recorded<'a>(
    header: &'a Header,
    vocabulary: &Vocabulary,
) -> Result<Vec<Merge<'a>>, CheckpointError> {
    const KEY: &str = "tokenizer.ggml.merges";
    let merges: &Strings = header.require(KEY)?;
    let mut joined = String::new();
    let mut known = |(left, right): &Merge| {
        joined.clear();
        joined.extend([*left, *right]);
        [*left, *right, &joined].iter().all(|token| vocabulary.ids.contains_key(token))
    };
    let pairs = merges.iter().enumerate().map(|(index, merge)| {
        let problem = || {
            header
                .key_error(KEY, &format!("entry {index} is not a pair of tokens that are one token together"))
        };
        split_pair(merge).filter(&mut known).ok_or_else(problem)
    });
    pairs.collect()
}

/// Cuts at the first space that is not the first character.
fn split_pair(merge: &str) -> Option<Merge<'_>> {
    let (space, _) = merge.char_indices().skip(1).find(|(_, c)| *c == ' ')?;
    Some((&merge[..space], &merge[space + 1..]))
}

/// The merges that SentencePiece's scores mean: every cut of a token into two tokens, highest score of the whole
/// first, then longer left parts first, as transformers orders them.
pub(super) fn scored<'a>(
    header: &Header,
    vocabulary: &Vocabulary<'a>,
) -> Result<Vec<Merge<'a>>, CheckpointError> {
    const KEY: &str = "tokenizer.ggml.scores";
    let scores: Vec<f32> = header.require(KEY)?;
    if scores.len() != vocabulary.tokens.len() || scores.iter().any(|score| score.is_nan()) {
        return Err(
            header.key_error(KEY, &format!("is not a number for each of {} tokens", vocabulary.tokens.len()))
        );
    }
    let mut cuts = Vec::new();
    for (id, token) in vocabulary.normal() {
        if token.len() > MAX_PIECE_BYTES {
            let problem = format!("entry {id} is over the limit of {MAX_PIECE_BYTES} bytes");
            return Err(header.key_error("tokenizer.ggml.tokens", &problem));
        }
        cuts.extend(cuts_of(token, &vocabulary.ids).map(|pair| (scores[id], pair)));
    }
    let length = |text: &str| text.chars().count();
    cuts.sort_by(|(a, left), (b, right)| {
        b.total_cmp(a).then_with(|| (length(right.0), length(right.1)).cmp(&(length(left.0), length(left.1))))
    });
    Ok(cuts.into_iter().map(|(_, pair)| pair).collect())
}

fn cuts_of<'a>(token: &'a str, ids: &HashMap<&str, usize>) -> impl Iterator<Item = Merge<'a>> {
    let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
    cuts.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right))
}
