//! One row's tokens to text while they come.

use crate::{TextError, Tokenizer};

/// Turns the tokens of one row into text, token by token.
///
/// A token may end within a character; its beginning is held back (at most 3 bytes) until the rest comes.
/// Bytes that can be no character become U+FFFD as in a decode of the whole. Special tokens appear as their
/// text.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    /// The bytes of a character that is not complete.
    held: Vec<u8>,
}

/// No character is longer than this, so one that is incomplete lies in fewer bytes.
const MAX_CHAR_BYTES: usize = 4;

impl Detokenizer {
    /// Starts after a prompt. Should its last token end within a character, as when a row is resumed after
    /// some of its output, then that character's text comes whole with the token that completes it.
    ///
    /// # Errors
    /// When the tokenizer cannot decode the prompt's end.
    pub fn new(tokenizer: &Tokenizer, prompt_ids: &[u32]) -> Result<Self, TextError> {
        let mut bytes = Vec::new();
        for &id in prompt_ids.iter().rev().take(2 * MAX_CHAR_BYTES) {
            let mut token = Vec::new();
            tokenizer.append_bytes(id, &mut token)?;
            bytes.splice(0..0, token);
            if bytes.len() >= MAX_CHAR_BYTES {
                break;
            }
        }
        let complete = complete_len(&bytes);
        Ok(Self { held: bytes.split_off(complete) })
    }

    /// The text that token `id` adds; empty while a character is incomplete.
    ///
    /// # Errors
    /// When the tokenizer cannot decode the token.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, TextError> {
        tokenizer.append_bytes(id, &mut self.held)?;
        let rest = self.held.split_off(complete_len(&self.held));
        let complete = std::mem::replace(&mut self.held, rest);
        Ok(into_text(complete))
    }

    /// What is still held back: U+FFFD for a character that never was completed, else nothing.
    pub fn finish(&mut self) -> String {
        into_text(std::mem::take(&mut self.held))
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The length of `bytes` without an incomplete character at its end.
fn complete_len(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(MAX_CHAR_BYTES - 1);
    let starts = (tail..bytes.len()).rev();
    let incomplete = starts.into_iter().find(|&start| is_incomplete(&bytes[start..]));
    incomplete.unwrap_or(bytes.len())
}

/// Whether `bytes` are the beginning of one character and nothing else.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}
