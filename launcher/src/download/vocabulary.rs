//! The tokens of a GGUF file, and which of them are special.

use std::collections::HashMap;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::{Header, Strings};

use super::tokenizer::split::{self, Split};

/// `tokenizer.ggml.token_type` of tokens that text is not merged into.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// The type of a token that has none recorded.
const NORMAL: i64 = 1;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// The kind of tokenizer.
#[derive(Clone, Copy)]
pub(super) enum Model {
    /// Byte-level BPE with recorded merges, after this split.
    ByteLevel(&'static Split),
    /// SentencePiece BPE, whose scores give the merges, with a token for every byte.
    SentencePiece,
}

/// The tokens and what the metadata says of them.
pub(super) struct Vocabulary<'a> {
    /// Texts by id.
    pub(super) tokens: &'a Strings,
    /// Ids by text.
    pub(super) ids: HashMap<&'a str, usize>,
    pub(super) model: Model,
    pub(super) bos: Option<usize>,
    pub(super) eos: Option<usize>,
    pub(super) unk: Option<usize>,
    pub(super) pad: Option<usize>,
    /// Whether BOS goes before every text.
    pub(super) add_bos: bool,
    /// Whether EOS goes behind every text.
    pub(super) add_eos: bool,
    /// End of turn and end of message.
    turn_ends: [Option<usize>; 2],
    kinds: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    /// Reads and checks the vocabulary of a model with `rows` embeddings.
    pub(super) fn read(header: &'a Header, rows: u64) -> Result<Self, CheckpointError> {
        let model = model(header)?;
        let tokens: &Strings = header.require(TOKENS)?;
        if tokens.is_empty() || tokens.len() as u64 > rows {
            return Err(header.key_error(TOKENS, &format!("{} tokens for {rows} embeddings", tokens.len())));
        }
        let id = |name, default| token_id(header, name, tokens.len(), default);
        // The ids that SentencePiece itself gives, for files without the keys.
        let default = |id| matches!(model, Model::SentencePiece).then_some(id);
        let vocabulary = Self {
            tokens,
            model,
            ids: ids(header, tokens)?,
            unk: id("unknown", default(0))?,
            bos: id("bos", default(1))?,
            eos: id("eos", default(2))?,
            pad: id("padding", None)?,
            turn_ends: [id("eot", None)?, id("eom", None)?],
            add_bos: header.find("tokenizer.ggml.add_bos_token")?.unwrap_or(model.adds_bos()),
            add_eos: header.find("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
            kinds: kinds(header, tokens.len())?,
        };
        vocabulary.check_added(header)?;
        Ok(vocabulary)
    }

    fn check_added(&self, header: &Header) -> Result<(), CheckpointError> {
        for (name, add, id) in [("bos", self.add_bos, self.bos), ("eos", self.add_eos, self.eos)] {
            if add && id.is_none() {
                let problem = format!("is missing, but every text shall have {}", name.to_uppercase());
                return Err(header.key_error(&format!("tokenizer.ggml.{name}_token_id"), &problem));
            }
        }
        Ok(())
    }

    /// The text of a token.
    pub(super) fn text(&self, id: usize) -> Option<&'a str> {
        self.tokens.get(id)
    }

    /// The tokens that end a text, each once.
    pub(super) fn ends(&self) -> Vec<usize> {
        let mut ends = Vec::new();
        for id in [self.eos].iter().chain(&self.turn_ends).flatten() {
            if !ends.contains(id) {
                ends.push(*id);
            }
        }
        ends
    }

    /// Tokens that are found in a text before it is split, in order, with whether each is special.
    pub(super) fn added_tokens(&self) -> Vec<(usize, &'a str, bool)> {
        let named = |id| self.bos == Some(id) || self.ends().contains(&id);
        let found = self.tokens.iter().enumerate().filter_map(|(id, text)| {
            let special = matches!(self.kinds[id], CONTROL | UNKNOWN) || named(id);
            (special || self.kinds[id] == USER_DEFINED).then_some((id, text, special))
        });
        found.collect()
    }

    /// Tokens that text is merged into.
    pub(super) fn normal(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.tokens.iter().enumerate().filter(|(id, _)| self.kinds[*id] == NORMAL)
    }
}

impl Model {
    fn adds_bos(self) -> bool {
        match self {
            Self::ByteLevel(split) => split.adds_bos,
            Self::SentencePiece => true,
        }
    }
}

fn model(header: &Header) -> Result<Model, CheckpointError> {
    match header.require(MODEL)? {
        "gpt2" => split::of(header).map(Model::ByteLevel),
        "llama" => Ok(Model::SentencePiece),
        other => Err(header.key_error(MODEL, &format!("{other:?} is not served, only gpt2 and llama"))),
    }
}

fn token_id(
    header: &Header,
    name: &str,
    len: usize,
    default: Option<usize>,
) -> Result<Option<usize>, CheckpointError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match header.find::<u64>(&key)? {
        None => Ok(default.filter(|id| *id < len)),
        Some(id) if id < len as u64 => Ok(Some(id as usize)),
        Some(id) => Err(header.key_error(&key, &format!("{id} is not one of the {len} tokens"))),
    }
}

fn ids<'a>(header: &Header, tokens: &'a Strings) -> Result<HashMap<&'a str, usize>, CheckpointError> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, text) in tokens.iter().enumerate() {
        if let Some(first) = ids.insert(text, id) {
            return Err(header.key_error(TOKENS, &format!("tokens {first} and {id} are the same text")));
        }
    }
    Ok(ids)
}

fn kinds(header: &Header, len: usize) -> Result<Vec<i64>, CheckpointError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    match header.find::<Vec<i64>>(KEY)? {
        None => Ok(vec![NORMAL; len]),
        Some(kinds) if kinds.len() == len => Ok(kinds),
        Some(kinds) => Err(header.key_error(KEY, &format!("{} types for {len} tokens", kinds.len()))),
    }
}
