//! How a text is split before byte-level BPE, by the name a GGUF file gives in `tokenizer.ggml.pre`.
//!
//! The names and what they mean are those of llama.cpp, which writes such files; the patterns are those of the
//! models' own `tokenizer.json`.

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::Header;
use serde_json::{Value, json};

const KEY: &str = "tokenizer.ggml.pre";
/// What a file without the key has.
const DEFAULT: &str = "default";

/// One way to split.
pub(in crate::download) struct Split {
    names: &'static [&'static str],
    method: Method,
    /// Whether a word that is a token is taken whole, whatever the merges say.
    pub(super) ignores_merges: bool,
    /// Whether BOS goes before a text when the file does not say.
    pub(in crate::download) adds_bos: bool,
    /// Whether characters are composed first.
    composes: bool,
}

enum Method {
    /// GPT-2's pattern.
    Gpt2,
    /// Every digit alone, then GPT-2's pattern.
    Digits,
    /// Each pattern in turn cuts what the one before left.
    Patterns(&'static [&'static str]),
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const PLAIN: Split =
    Split { names: &[], method: Method::Gpt2, ignores_merges: false, adds_bos: false, composes: false };

const SPLITS: [Split; 7] = [
    Split { names: &["gpt-2", "phi-2", "mpt", "olmo"], ..PLAIN },
    Split {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"],
        method: Method::Digits,
        ..PLAIN
    },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        method: Method::Patterns(&[LLAMA3]),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Split {
        names: &["qwen2", "deepseek-r1-qwen"],
        method: Method::Patterns(&[QWEN2]),
        composes: true,
        ..PLAIN
    },
    Split {
        names: &["tekken"],
        method: Method::Patterns(&[TEKKEN]),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Split {
        names: &["deepseek-coder"],
        method: Method::Patterns(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
        ..PLAIN
    },
    Split {
        names: &[DEFAULT],
        method: Method::Patterns(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
        ..PLAIN
    },
];

/// The split a file asks for.
pub(in crate::download) fn of(header: &Header) -> Result<&'static Split, CheckpointError> {
    let name = header.find::<&str>(KEY)?.unwrap_or(DEFAULT);
    SPLITS.iter().find(|split| split.names.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = SPLITS.iter().flat_map(|split| split.names).copied().collect();
        header.key_error(KEY, &format!("{name:?} is not served, only {}", known.join(", ")))
    })
}

impl Split {
    pub(super) fn normalizer(&self) -> Value {
        if self.composes { json!({"type": "NFC"}) } else { Value::Null }
    }

    pub(super) fn pre_tokenizer(&self) -> Value {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let steps = match &self.method {
            Method::Gpt2 => return bytes(true),
            Method::Digits => vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)],
            Method::Patterns(patterns) => {
                patterns.iter().copied().map(isolated).chain([bytes(false)]).collect()
            }
        };
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

fn isolated(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}
