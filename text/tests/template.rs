//! Chat templates against what Jinja2 makes of them, set up as transformers does (see `data/record.py`).

use std::fs;
use std::path::Path;

use gristmill_text::{ChatTemplate, TemplateContext};
use serde_json::{Value, json};
use tempfile::TempDir;

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}

/// A model folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn template(source: &str) -> ChatTemplate {
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null}).to_string();
    let folder = folder(&[("chat_template.jinja", source), ("tokenizer_config.json", &config)]);
    ChatTemplate::load(folder.path(), None).unwrap().unwrap()
}

fn recorded() -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(data().join("renderings.json")).unwrap()).unwrap()
}

fn render(template: &ChatTemplate, context: &Value) -> Result<String, String> {
    let context = TemplateContext {
        messages: context["messages"].as_array().unwrap(),
        tools: context.get("tools"),
        add_generation_prompt: context.get("add_generation_prompt") != Some(&json!(false)),
        extra: context.get("extra").and_then(Value::as_object),
    };
    template.render(&context).map_err(|error| error.to_string())
}

/// What the assistant said last, if the conversation ends with it: there the prompt ends too.
fn last_said(context: &Value) -> Option<&str> {
    let last = context["messages"].as_array()?.last()?;
    last["content"].as_str().filter(|_| last["role"] == "assistant")
}

#[test]
fn renders_as_recorded() {
    let mut compared = 0;
    for case in recorded() {
        let name = case["template"].as_str().unwrap();
        let what = format!("{name}, {}", case["case"]);
        let template = template(&fs::read_to_string(data().join("templates").join(name)).unwrap());
        let rendered = render(&template, &case["context"]);
        match (case["text"].as_str(), last_said(&case["context"])) {
            (Some(text), None) => similar(&rendered.expect(&what), text, &what),
            (Some(text), Some(said)) => {
                let end = text.rfind(said).map_or(text.len(), |start| start + said.len());
                similar(&rendered.expect(&what), &text[..end], &what);
            }
            (None, _) => {
                let error = rendered.expect_err(&what);
                let raised = case["error"] == "TemplateError";
                assert!(!raised || error.contains(case["message"].as_str().unwrap()), "{what}: {error}");
            }
        }
        compared += 1;
    }
    assert!(compared > 100);
}

fn similar(ours: &str, theirs: &str, what: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours, theirs, "{what}");
}
