//! A GGUF file becomes a model folder: configuration and tokenizer from its metadata, weights with their blocks.

use std::fs;
use std::path::Path;

use gristmill_model::checkpoint::gguf::Header;
use serde_json::{Value, json};

use super::DownloadError;
use super::folder::PartialFolder;
use super::llama::Llama;
use super::tokenizer::tokenizer_json;
use super::vocabulary::Vocabulary;
use super::weights;

/// The architectures that can be converted, by `general.architecture`.
const ARCHITECTURES: [&str; 1] = ["llama"];

/// Converts `gguf` into the new folder `out`. The same file always becomes the same bytes. The folder appears
/// when it is complete; everything but the data is checked before anything is written.
///
/// # Errors
/// The file is wrong or holds what is not served (the error names the key or tensor), `out` is there and not
/// empty, or a file cannot be written.
pub fn gguf_to_folder(gguf: &Path, out: &Path) -> Result<(), DownloadError> {
    let header = Header::read(gguf)?;
    check_kind(&header)?;
    let llama = Llama::read(&header)?;
    let vocabulary = Vocabulary::read(&header, llama.vocab)?;
    let mut tensors = llama.tensors(&header)?;
    let tokenizer = tokenizer_json(&header, &vocabulary)?;
    let config = config(&llama, &vocabulary, weights::torch_dtype(&tensors), weights::has_blocks(&tensors));
    check_free(out)?;

    let folder = PartialFolder::create(out)?;
    folder.write_json("config.json", &config)?;
    folder.write_json("generation_config.json", &generation_config(&vocabulary))?;
    folder.write_json("tokenizer_config.json", &tokenizer_config(&vocabulary, llama.context))?;
    folder.write_text("tokenizer.json", &tokenizer.to_string())?;
    if let Some(template) = header.find::<&str>("tokenizer.chat_template")? {
        folder.write_text("chat_template.jinja", template)?;
    }
    folder.write("model.safetensors", |file, path| weights::write(&header, &mut tensors, file, path))?;
    folder.finish()
}

fn check_kind(header: &Header) -> Result<(), DownloadError> {
    const KEY: &str = "general.architecture";
    let architecture = header.require::<&str>(KEY)?;
    if !ARCHITECTURES.contains(&architecture) {
        let known = ARCHITECTURES.join(", ");
        return Err(header.key_error(KEY, &format!("{architecture:?} is not served, only {known}")).into());
    }
    match header.find::<u64>("split.count")? {
        Some(count @ 2..) => {
            let problem =
                format!("the model is split into {count} files, which is not served: merge them first");
            Err(header.key_error("split.count", &problem).into())
        }
        _ => Ok(()),
    }
}

fn check_free(out: &Path) -> Result<(), DownloadError> {
    let taken = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if taken {
        return Err(DownloadError::io(out)(std::io::ErrorKind::DirectoryNotEmpty.into()));
    }
    Ok(())
}

fn config(llama: &Llama, vocabulary: &Vocabulary, torch_dtype: &str, blocks: bool) -> Value {
    let mut config = llama.config();
    for (name, id) in [("bos", vocabulary.bos), ("eos", vocabulary.eos), ("pad", vocabulary.pad)] {
        if let Some(id) = id {
            config[format!("{name}_token_id")] = json!(id);
        }
    }
    config["torch_dtype"] = json!(torch_dtype);
    if blocks {
        config["quantization_config"] = json!({"quant_method": "gguf"});
    }
    config
}

/// Every token that ends a turn ends a text.
fn generation_config(vocabulary: &Vocabulary) -> Value {
    let mut config = json!({});
    if let Some(bos) = vocabulary.bos {
        config["bos_token_id"] = json!(bos);
    }
    match vocabulary.ends().as_slice() {
        [] => {}
        [one] => config["eos_token_id"] = json!(one),
        several => config["eos_token_id"] = json!(several),
    }
    if let Some(pad) = vocabulary.pad {
        config["pad_token_id"] = json!(pad);
    }
    config
}

fn tokenizer_config(vocabulary: &Vocabulary, context: u64) -> Value {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    let named =
        [("bos", vocabulary.bos), ("eos", vocabulary.eos), ("unk", vocabulary.unk), ("pad", vocabulary.pad)];
    for (name, id) in named {
        if let Some(text) = id.and_then(|id| vocabulary.text(id)) {
            config[format!("{name}_token")] = json!(text);
        }
    }
    config
}
