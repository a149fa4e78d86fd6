//! What one token adds to a text under way, as bytes.
//!
//! A tokenizer's decoder works on a whole text: it joins the tokens' bytes, and drops the space that was put
//! before the text. A stream needs each token alone. In a byte-level vocabulary each character of a token
//! spells one byte; in a SentencePiece one the token `<0x0A>` spells one byte; for every other token the
//! decoder is asked for its text after an anchor, a token that ends any special treatment of a text's
//! beginning.

use std::sync::LazyLock;

use tokenizers::{DecoderWrapper, Tokenizer};

/// How tokens spell bytes.
#[derive(Debug)]
pub(super) enum TokenBytes {
    /// Each character is one byte, by GPT-2's table.
    ByteLevel,
    /// Text after an anchor; `<0xXX>` is a byte if `byte_fallback`.
    Text { byte_fallback: bool, anchor: Option<(u32, String)> },
}

impl TokenBytes {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let decoders = tokenizer.get_decoder().map(flatten).unwrap_or_default();
        if decoders.iter().any(|decoder| matches!(decoder, DecoderWrapper::ByteLevel(_))) {
            return Self::ByteLevel;
        }
        let byte_fallback = decoders.iter().any(|decoder| matches!(decoder, DecoderWrapper::ByteFallback(_)));
        Self::Text { byte_fallback, anchor: find_anchor(tokenizer) }
    }

    /// Appends the bytes of token `id`; nothing for an unknown id.
    pub(super) fn append(
        &self,
        tokenizer: &Tokenizer,
        id: u32,
        bytes: &mut Vec<u8>,
    ) -> tokenizers::Result<()> {
        match self {
            Self::ByteLevel => append_byte_level(&tokenizer.id_to_token(id).unwrap_or_default(), bytes),
            Self::Text { byte_fallback, anchor } => {
                let byte = if *byte_fallback {
                    tokenizer.id_to_token(id).and_then(|token| fallback_byte(&token))
                } else {
                    None
                };
                match byte {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(text_after(tokenizer, anchor.as_ref(), id)?.as_bytes()),
                }
            }
        }
        Ok(())
    }
}

/// A decoder's steps, with sequences opened.
fn flatten(decoder: &DecoderWrapper) -> Vec<&DecoderWrapper> {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().flat_map(flatten).collect(),
        step => vec![step],
    }
}

fn append_byte_level(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for c in token.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

fn byte_of(c: char) -> Option<u8> {
    BYTE_OF_CHAR.get(c as usize).copied().flatten()
}

/// GPT-2's table: a byte that prints stands for itself, the others follow from U+0100 on in order.
static BYTE_OF_CHAR: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut table = [None; 0x144];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let prints = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if prints { usize::from(byte) } else { next };
        next += usize::from(!prints);
        table[code] = Some(byte);
    }
    table
});

/// The byte of a token such as `<0x0A>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

fn text_after(tokenizer: &Tokenizer, anchor: Option<&(u32, String)>, id: u32) -> tokenizers::Result<String> {
    let Some((anchor_id, anchor_text)) = anchor else { return tokenizer.decode(&[id], false) };
    let mut text = tokenizer.decode(&[*anchor_id, id], false)?;
    if text.starts_with(anchor_text) {
        text.drain(..anchor_text.len());
    }
    Ok(text)
}

/// Tokens tried as the anchor; the first ones are special tokens, and any of them will do.
const ANCHOR_CANDIDATES: u32 = 1000;

/// A token with a text of its own that nothing strips.
fn find_anchor(tokenizer: &Tokenizer) -> Option<(u32, String)> {
    (0..ANCHOR_CANDIDATES).find_map(|id| {
        let text = tokenizer.decode(&[id], false).ok()?;
        let twice = tokenizer.decode(&[id, id], false).ok()?;
        let plain = !text.is_empty() && text.trim() == text && !text.contains('\u{FFFD}');
        (plain && twice.starts_with(&text) && twice.len() > text.len()).then_some((id, text))
    })
}
