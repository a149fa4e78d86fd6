//! `tokenizer.json` from a GGUF file's vocabulary.

mod merges;
pub(super) mod split;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::Header;
use serde_json::{Map, Value, json};

use super::vocabulary::{Model, Vocabulary};
use split::Split;

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// The whole file, in the form that transformers gives the same tokenizer.
pub(super) fn tokenizer_json(header: &Header, vocabulary: &Vocabulary) -> Result<Value, CheckpointError> {
    let parts = match vocabulary.model {
        Model::ByteLevel(split) => byte_level(header, vocabulary, split)?,
        Model::SentencePiece => sentence_piece(header, vocabulary)?,
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor(vocabulary),
        "decoder": parts.decoder,
        "model": parts.model,
    }))
}

/// The parts that differ between the kinds of tokenizer.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

fn byte_level(header: &Header, vocabulary: &Vocabulary, split: &Split) -> Result<Parts, CheckpointError> {
    Ok(Parts {
        normalizer: split.normalizer(),
        pre_tokenizer: split.pre_tokenizer(),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": split.ignores_merges,
            "vocab": vocab(vocabulary),
            "merges": merges::recorded(header, vocabulary)?,
        }),
    })
}

/// As Llama 2: a space before the text, unknown characters as bytes.
fn sentence_piece(header: &Header, vocabulary: &Vocabulary) -> Result<Parts, CheckpointError> {
    let prefixed = header.find("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefixed {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": vocabulary.unk.and_then(|id| vocabulary.text(id)),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocab(vocabulary),
            "merges": merges::scored(header, vocabulary)?,
        }),
    })
}

fn vocab(vocabulary: &Vocabulary) -> Map<String, Value> {
    vocabulary.tokens.iter().enumerate().map(|(id, text)| (text.to_owned(), json!(id))).collect()
}

fn added_tokens(vocabulary: &Vocabulary) -> Vec<Value> {
    let added = vocabulary.added_tokens().into_iter().map(|(id, text, special)| {
        json!({
            "id": id,
            "content": text,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": special,
        })
    });
    added.collect()
}

/// Puts BOS and EOS around a text, where the file asks for them.
fn post_processor(vocabulary: &Vocabulary) -> Value {
    let token = |add: bool, id: Option<usize>| {
        let id = id.filter(|_| add)?;
        Some((id, vocabulary.text(id)?))
    };
    let (bos, eos) = (token(vocabulary.add_bos, vocabulary.bos), token(vocabulary.add_eos, vocabulary.eos));
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let around = |sequence: &str, part: u32| {
        let special = |(_, text): (usize, &str)| json!({"SpecialToken": {"id": text, "type_id": part}});
        let text = json!({"Sequence": {"id": sequence, "type_id": part}});
        bos.map(special).into_iter().chain([text]).chain(eos.map(special)).collect::<Vec<_>>()
    };
    let special = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(id, text)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})));
    let pair = [around("A", 0), around("B", 1)].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": pair,
        "special_tokens": special.collect::<Map<_, _>>(),
    })
}
