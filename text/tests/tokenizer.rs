//! Tokenizers against recorded encodings, and the tokens that go around a prompt.
#![expect(clippy::unwrap_used, reason = "what tests share may panic as tests do")]

use std::fs;
use std::path::Path;

use gristmill_text::{Encoding, TextError, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}

fn recorded(name: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(&fs::read_to_string(data().join("encodings.json")).unwrap()).unwrap();
    all[name].as_array().unwrap().clone()
}

fn tokenizer_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(data().join(name).join("tokenizer.json")).unwrap()).unwrap()
}

fn folder(tokenizer: &Value, config: Option<&Value>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    if let Some(config) = config {
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    }
    folder
}

fn load(tokenizer: &Value, config: &Value) -> Result<Tokenizer, TextError> {
    Tokenizer::load(folder(tokenizer, Some(config)).path())
}

/// The ids around a text in a SentencePiece tokenizer with this config.
fn around(tokenizer: &Value, config: &Value) -> (bool, bool) {
    let tokenizer = load(tokenizer, config).unwrap();
    let plain = tokenizer.encode("the fox", false).unwrap().ids;
    let full = tokenizer.encode("the fox", true).unwrap().ids;
    let start = full.windows(plain.len()).position(|ids| ids == plain).unwrap();
    let (before, after) = (&full[..start], &full[start + plain.len()..]);
    assert!(before.is_empty() || before == [1], "{full:?}");
    assert!(after.is_empty() || after == [2], "{full:?}");
    (!before.is_empty(), !after.is_empty())
}

#[test]
fn encodes_and_decodes_as_recorded() {
    for name in ["byte_level", "sentencepiece"] {
        let tokenizer = Tokenizer::load(&data().join(name)).unwrap();
        for case in recorded(name) {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text, false).unwrap().ids, ids, "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), case["decoded"], "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), case["without_special"], "{name} {text:?}");
        }
    }
}

#[test]
fn truncation_and_padding_are_off() {
    let tokenizer = tokenizer_json("byte_level");
    assert!(tokenizer["truncation"].is_object() && tokenizer["padding"].is_object());
    let tokenizer = load(&tokenizer, &json!({})).unwrap();
    for text in ["a", "one two three four five six seven eight nine"] {
        let ids = tokenizer.encode(text, true).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}

#[test]
fn offsets_are_bytes_of_the_text() {
    let tokenizer = Tokenizer::load(&data().join("byte_level")).unwrap();
    let text = "Köln 龘 the<|im_end|>";
    let encoding = tokenizer.encode(text, true).unwrap();
    assert_eq!(encoding.offsets.len(), encoding.ids.len());
    let last = encoding.ids.len() - 1;
    assert_eq!(encoding.offsets[last], (text.len() - 10, text.len()));
    assert_eq!(encoding.text(text, last), "<|im_end|>");
    let texts: Vec<String> = (0..encoding.ids.len()).map(|index| encoding.text(text, index)).collect();
    assert!(texts.contains(&" the".to_owned()), "{texts:?}");
    assert_eq!(Encoding { ids: vec![1], offsets: vec![(1, 3)] }.text("é龘", 0), "\u{FFFD}\u{FFFD}");
    assert_eq!(Encoding { ids: vec![1], offsets: vec![(0, 99)] }.text("é", 0), "");
}

#[test]
fn bos_has_no_place_in_the_text() {
    let tokenizer =
        load(&tokenizer_json("sentencepiece"), &json!({"tokenizer_class": "LlamaTokenizer"})).unwrap();
    let encoding = tokenizer.encode("the", true).unwrap();
    assert_eq!((encoding.ids[0], encoding.offsets[0]), (1, (0, 0)));
    assert_eq!(encoding.text("the", 0), "");
}

#[test]
fn vocabulary() {
    let tokenizer = Tokenizer::load(&data().join("byte_level")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 561);
    assert_eq!(tokenizer.token_to_id("<|im_end|>"), Some(2));
    assert_eq!(tokenizer.id_to_token(2).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.id_to_token(560).as_deref(), Some("tool call"));
    assert_eq!((tokenizer.id_to_token(561), tokenizer.token_to_id("no such")), (None, None));
    let special: Vec<u32> = (0..600).filter(|&id| tokenizer.is_special(id)).collect();
    assert_eq!(special, [0, 1, 2]);
}

#[test]
fn shared_between_threads() {
    fn assert_shared<T: Send + Sync + 'static>() {}
    assert_shared::<Tokenizer>();
}

#[test]
fn llama_classes_add_bos() {
    let tokenizer = tokenizer_json("sentencepiece");
    assert!(tokenizer["post_processor"].is_null());
    for class in ["LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"] {
        let with = |more: Value| {
            let mut config = json!({"tokenizer_class": class});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            around(&tokenizer, &config)
        };
        assert_eq!(with(json!({})), (true, false), "{class}");
        assert_eq!(with(json!({"add_bos_token": true})), (true, false));
        assert_eq!(with(json!({"add_bos_token": false})), (false, false));
        assert_eq!(with(json!({"add_bos_token": null})), (false, false));
        assert_eq!(with(json!({"add_eos_token": true})), (true, true));
        assert_eq!(with(json!({"add_bos_token": false, "add_eos_token": true})), (false, true));
        assert_eq!(
            with(json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_eos_token": true})),
            (true, true)
        );
        assert_eq!(with(json!({"bos_token": null})), (false, false));
    }
}

#[test]
fn gemma_has_its_own_tokens() {
    let mut tokenizer = tokenizer_json("sentencepiece");
    for (index, name) in ["<unk>", "<bos>", "<eos>"].into_iter().enumerate() {
        let old = tokenizer["added_tokens"][index]["content"].take();
        tokenizer["added_tokens"][index]["content"] = json!(name);
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocab.remove(old.as_str().unwrap());
        vocab.insert(name.to_owned(), json!(index));
    }
    for class in ["GemmaTokenizer", "GemmaTokenizerFast"] {
        assert_eq!(around(&tokenizer, &json!({"tokenizer_class": class})), (true, false));
    }
}

#[test]
fn other_classes_go_by_tokenizer_json() {
    let tokenizer = tokenizer_json("sentencepiece");
    for class in [json!("PreTrainedTokenizerFast"), json!("GPT2Tokenizer"), json!(null), json!(7)] {
        let config = json!({"tokenizer_class": class, "add_bos_token": true, "bos_token": "<s>"});
        assert_eq!(around(&tokenizer, &config), (false, false));
    }
    assert_eq!(
        around(&with_bos(tokenizer), &json!({"tokenizer_class": "PreTrainedTokenizerFast"})),
        (true, false)
    );
}

/// A SentencePiece `tokenizer.json` that adds BOS itself, in a sequence as some have it.
fn with_bos(mut tokenizer: Value) -> Value {
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let bos = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let template = json!({"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
    let trim =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [trim, template]});
    tokenizer
}

#[test]
fn bos_is_added_once_and_taken_away() {
    let tokenizer = with_bos(tokenizer_json("sentencepiece"));
    assert_eq!(around(&tokenizer, &json!({"tokenizer_class": "LlamaTokenizerFast"})), (true, false));
    let config = json!({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false});
    assert_eq!(around(&tokenizer, &config), (false, false));
}

#[test]
fn bos_that_is_no_token() {
    let config = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<start>"});
    let error = load(&tokenizer_json("sentencepiece"), &config).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json: bos_token: \"<start>\" is not in tokenizer.json"),
        "{error}"
    );
    let config = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<start>", "add_bos_token": false});
    assert_eq!(around(&tokenizer_json("sentencepiece"), &config), (false, false));
}

#[test]
fn broken_files() {
    let empty = tempfile::tempdir().unwrap();
    let error = Tokenizer::load(empty.path()).unwrap_err().to_string();
    assert!(error.ends_with("tokenizer.json: file not found"), "{error}");
    fs::create_dir(empty.path().join("tokenizer.json")).unwrap();
    let error = Tokenizer::load(empty.path()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("tokenizer.json"), "{error}");
    for broken in
        [json!(null), json!({}), json!([]), json!({"model": {"type": "BPE"}}), json!({"added_tokens": 3})]
    {
        let error = Tokenizer::load(folder(&broken, None).path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: "), "{error}");
    }
    let mut json = tokenizer_json("byte_level").to_string().into_bytes();
    json[984] = 0x80;
    let folder = folder(&tokenizer_json("byte_level"), None);
    fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: invalid utf-8"), "{error}");
    fs::write(folder.path().join("tokenizer.json"), tokenizer_json("byte_level").to_string()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), "{\"bos_token\": ").unwrap();
    let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: EOF"), "{error}");
}
