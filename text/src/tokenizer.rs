//! Text to token ids and back, from a model folder's `tokenizer.json`.

mod bytes;
mod special;

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::TextError;
use crate::config::{Config, read_bounded};
use crate::contained::contain;
use crate::limits::{MAX_ADDED_TOKEN_BYTES, MAX_ADDED_TOKENS, MAX_TOKEN_ID, MAX_TOKENIZER_BYTES};
use bytes::TokenBytes;

/// A model's tokenizer. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: HashSet<u32>,
    vocab_size: usize,
    bytes: TokenBytes,
}

/// The tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id, the byte range `(start, end)` of the text it stands for; `(0, 0)` for tokens that are not
    /// in the text, such as BOS. TGI's `/tokenize` gives these byte offsets, and as a token's text the bytes
    /// of that range with half characters replaced by U+FFFD: see [`Encoding::text`].
    pub offsets: Vec<(usize, usize)>,
}

impl Encoding {
    /// The part of `input` that token `index` stands for, as TGI's `/tokenize` shows it.
    pub fn text(&self, input: &str, index: usize) -> String {
        let (start, end) = self.offsets.get(index).copied().unwrap_or_default();
        let bytes = input.as_bytes().get(start..end).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `folder`, and from `tokenizer_config.json`, where there is one, whether BOS
    /// and EOS are added. Truncation and padding that the file asks for are switched off.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let file = folder.join("tokenizer.json");
        let Some(json) = read_bounded(&file, MAX_TOKENIZER_BYTES)? else {
            return Err(TextError::file(&file, "file not found"));
        };
        let mut inner = parse(&json).map_err(|reason| TextError::file(&file, reason))?;
        if let Some(config) = Config::load(&folder.join("tokenizer_config.json"))? {
            special::add_bos_and_eos(&mut inner, &config)?;
        }
        Ok(Self::new(inner))
    }

    fn new(inner: tokenizers::Tokenizer) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let vocab_size = inner.get_vocab_size(true);
        let bytes = TokenBytes::new(&inner);
        Self { inner, special, vocab_size, bytes }
    }

    /// The tokens of `text`. Special tokens written out in it become their ids.
    ///
    /// # Errors
    /// When the tokenizer's pattern gives up on the text, or it has no token for a part of it.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Encoding, TextError> {
        let encoding = self.inner.encode(text, add_special_tokens)?;
        Ok(Encoding { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }

    /// The text of `ids` as a text of its own: a leading space that the tokenizer puts before a text is taken
    /// off again. Unknown ids are left out; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When the decoder cannot make text of the tokens.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        Ok(self.inner.decode(ids, skip_special_tokens)?)
    }

    /// The text of `ids` as it follows some prompt, thus with its leading space: what a
    /// [`crate::Detokenizer`] gives for them in all. This is the `generated_text` of a row when special
    /// tokens are skipped.
    ///
    /// # Errors
    /// When the decoder cannot make text of a token.
    pub fn decode_continuation(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        let mut bytes = Vec::new();
        for &id in ids.iter().filter(|&&id| !skip_special_tokens || !self.is_special(id)) {
            self.append_bytes(id, &mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Appends what a token adds to a text that is already under way: bytes, as a token may end within a
    /// character. Nothing for an unknown id.
    ///
    /// # Errors
    /// When the decoder cannot make text of the token.
    pub fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) -> Result<(), TextError> {
        Ok(self.bytes.append(&self.inner, id, bytes)?)
    }

    /// The token's own spelling in the vocabulary, or `None` for an unknown id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token spelled as in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether `id` is an added token marked special: its text is left out where special tokens are skipped.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The number of tokens, added tokens included. Ids may have gaps, so this can be less than the highest
    /// id + 1.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    check_added_tokens(json)?;
    // The library panics on some files that are JSON but no tokenizer.
    let parsed = contain(|| tokenizers::Tokenizer::from_bytes(json));
    let mut inner = parsed.ok_or("not a tokenizer")?.map_err(|error| error.to_string())?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|error| error.to_string())?;
    Ok(inner)
}

/// The one part of `tokenizer.json` whose size costs more than reading it.
#[derive(Deserialize)]
struct AddedTokens {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

fn check_added_tokens(json: &[u8]) -> Result<(), String> {
    let json = std::str::from_utf8(json).map_err(|error| error.to_string())?;
    let added: AddedTokens = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let tokens = added.added_tokens;
    if tokens.len() > MAX_ADDED_TOKENS {
        return Err(format!("added_tokens: {} tokens, more than {MAX_ADDED_TOKENS}", tokens.len()));
    }
    for (index, token) in tokens.iter().enumerate() {
        if token.id > u64::from(MAX_TOKEN_ID) {
            return Err(format!("added_tokens[{index}].id: {} is more than {MAX_TOKEN_ID}", token.id));
        }
        if token.content.len() > MAX_ADDED_TOKEN_BYTES {
            return Err(format!("added_tokens[{index}].content: more than {MAX_ADDED_TOKEN_BYTES} bytes"));
        }
    }
    Ok(())
}
