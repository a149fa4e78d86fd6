//! BOS and EOS around a prompt, as transformers adds them.
//!
//! For the Llama and Gemma classes transformers ignores what `tokenizer.json` says about them and goes by
//! `add_bos_token` and `add_eos_token` of `tokenizer_config.json`. Everything else is as `tokenizer.json` has
//! it.

use serde_json::{Value, json};
use tokenizers::{Encoding, PostProcessorWrapper, Tokenizer};

use crate::TextError;
use crate::config::Config;

/// The classes that act so, with their default BOS and EOS.
const CLASSES: [(&str, &str, &str); 6] = [
    ("LlamaTokenizer", "<s>", "</s>"),
    ("LlamaTokenizerFast", "<s>", "</s>"),
    ("CodeLlamaTokenizer", "<s>", "</s>"),
    ("CodeLlamaTokenizerFast", "<s>", "</s>"),
    ("GemmaTokenizer", "<bos>", "<eos>"),
    ("GemmaTokenizerFast", "<bos>", "<eos>"),
];

/// Makes `tokenizer` add BOS and EOS as `config` asks, if its class goes by the config.
pub(super) fn add_bos_and_eos(tokenizer: &mut Tokenizer, config: &Config) -> Result<(), TextError> {
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    let Some((_, bos, eos)) = CLASSES.iter().find(|(name, ..)| Some(*name) == class) else { return Ok(()) };
    let bos = wanted(tokenizer, config, "add_bos_token", true, ("bos_token", bos))?;
    let eos = wanted(tokenizer, config, "add_eos_token", false, ("eos_token", eos))?;
    let ids: Vec<u32> = [&bos, &eos].into_iter().flatten().map(|(_, id)| *id).collect();
    if ids == added_now(tokenizer, config)? {
        return Ok(());
    }
    let processor = serde_json::from_value::<PostProcessorWrapper>(template(bos.as_ref(), eos.as_ref()))
        .map_err(|error| TextError::file(config.file(), error))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// The token to add and its id, or `None` if `flag` says not to.
fn wanted(
    tokenizer: &Tokenizer,
    config: &Config,
    flag: &str,
    by_default: bool,
    (field, default): (&str, &str),
) -> Result<Option<(String, u32)>, TextError> {
    let add = if config.has(flag) { config.get(flag) == Some(&Value::Bool(true)) } else { by_default };
    let token = if config.has(field) { config.token(field) } else { Some(default) };
    let Some(token) = token.filter(|_| add) else { return Ok(None) };
    let Some(id) = tokenizer.token_to_id(token) else {
        return Err(TextError::file(
            config.file(),
            format_args!("{field}: {token:?} is not in tokenizer.json"),
        ));
    };
    Ok(Some((token.to_owned(), id)))
}

/// What the post-processor of `tokenizer.json` puts around an empty text.
fn added_now(tokenizer: &Tokenizer, config: &Config) -> Result<Vec<u32>, TextError> {
    let around = tokenizer.post_process(Encoding::default(), None, true);
    Ok(around.map_err(|error| TextError::file(config.file(), error))?.get_ids().to_vec())
}

/// A `TemplateProcessing` as `tokenizer.json` would spell it.
fn template(bos: Option<&(String, u32)>, eos: Option<&(String, u32)>) -> Value {
    let piece =
        |(token, _): &(String, u32), part: u32| json!({"SpecialToken": {"id": token, "type_id": part}});
    let part = |sequence: &str, part: u32| {
        let text = json!({"Sequence": {"id": sequence, "type_id": part}});
        let bos = bos.map(|token| piece(token, part));
        bos.into_iter().chain([text]).chain(eos.map(|token| piece(token, part))).collect::<Vec<_>>()
    };
    let special = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(token, id)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]})));
    let pair = [part("A", 0), part("B", 1)].concat();
    json!({
        "type": "TemplateProcessing",
        "single": part("A", 0),
        "pair": pair,
        "special_tokens": special.collect::<serde_json::Map<_, _>>(),
    })
}
