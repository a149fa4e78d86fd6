//! Chat templates against what Jinja2 makes of them, set up as transformers does (see `data/record.py`).
#![expect(clippy::unwrap_used, reason = "what tests share may panic as tests do")]

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

fn chat(roles: &[(&str, &str)]) -> Vec<Value> {
    roles.iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

/// What a template makes of a greeting.
fn show(source: &str) -> String {
    render(&template(source), &json!({"messages": chat(&[("user", "Hi")])})).unwrap()
}

const SHOW_ALL: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

#[test]
fn the_place_of_the_template() {
    let config = json!({"chat_template": "config"}).to_string();
    let json = json!({"chat_template": "json"}).to_string();
    let processor = json!({"chat_template": "processor"}).to_string();
    let mut files = vec![
        ("chat_template.jinja", "jinja"),
        ("chat_template.json", &json),
        ("tokenizer_config.json", &config),
        ("processor_config.json", &processor),
    ];
    for expected in ["jinja", "json", "config", "processor"] {
        let folder = folder(&files);
        let template = ChatTemplate::load(folder.path(), None).unwrap().unwrap();
        assert_eq!(render(&template, &json!({"messages": []})).unwrap(), expected);
        files.remove(0);
    }
    let folder = folder(&[("tokenizer_config.json", "{\"bos_token\": \"<s>\"}")]);
    assert!(ChatTemplate::load(folder.path(), None).unwrap().is_none());
    assert!(ChatTemplate::load(&folder.path().join("nothing"), None).unwrap().is_none());
}

#[test]
fn a_named_config_comes_first() {
    let config = json!({"chat_template": "{{ bos_token }} config", "bos_token": "<folder>"}).to_string();
    let folder = folder(&[
        ("chat_template.jinja", "{{ bos_token }} jinja"),
        ("tokenizer_config.json", &config),
        (
            "named.json",
            &json!({"chat_template": "{{ bos_token }} named", "bos_token": "<named>"}).to_string(),
        ),
        ("tokens.json", &json!({"bos_token": "<tokens>"}).to_string()),
    ]);
    let with = |name: &str| {
        let template = ChatTemplate::load(folder.path(), Some(&folder.path().join(name))).unwrap().unwrap();
        render(&template, &json!({"messages": []})).unwrap()
    };
    assert_eq!(with("named.json"), "<named> named");
    assert_eq!(with("tokens.json"), "<tokens> jinja");
    let error = ChatTemplate::load(folder.path(), Some(Path::new("/no/such.json"))).unwrap_err().to_string();
    assert_eq!(error, "/no/such.json: file not found");
}

#[test]
fn a_list_of_templates_has_a_default() {
    let list = json!([{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]);
    let with = |list: &Value| {
        let folder = folder(&[("tokenizer_config.json", &json!({ "chat_template": list }).to_string())]);
        ChatTemplate::load(folder.path(), None)
    };
    assert_eq!(render(&with(&list).unwrap().unwrap(), &json!({"messages": []})).unwrap(), "plain");
    assert!(with(&json!([list[0]])).unwrap().is_none());
    assert!(with(&json!(null)).unwrap().is_none());
    let error = with(&json!(3)).unwrap_err().to_string();
    assert!(
        error.ends_with("tokenizer_config.json: chat_template: neither a string nor a list of templates"),
        "{error}"
    );
}

#[test]
fn broken_templates_name_their_file() {
    for (name, text, reason) in [
        ("chat_template.jinja", "{% for %}", "syntax error"),
        ("chat_template.jinja", "{{ x", "syntax error"),
        ("chat_template.jinja", "{% nothing %}", "syntax error"),
        ("chat_template.json", "{\"chat_template\": \"{% if %}\"}", "syntax error"),
        ("chat_template.json", "[]", "invalid type"),
        ("tokenizer_config.json", "{\"chat_template\"", "EOF"),
    ] {
        let error = ChatTemplate::load(folder(&[(name, text)]).path(), None).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat_template.jinja"), b"\xff").unwrap();
    let error = ChatTemplate::load(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja: invalid utf-8"), "{error}");
}

#[test]
fn special_tokens() {
    assert_eq!(
        show("{{ bos_token }}{{ eos_token }}[{{ pad_token }}] {{ pad_token is defined }}"),
        "<s></s>[] False"
    );
}

#[test]
fn an_answer_is_continued() {
    let template = template(SHOW_ALL);
    let with = |messages: &[(&str, &str)]| render(&template, &json!({"messages": chat(messages)})).unwrap();
    assert_eq!(with(&[("user", "2 + 2?")]), "<user>2 + 2?</><assistant>");
    assert_eq!(with(&[("user", "2 + 2?"), ("assistant", "It is")]), "<user>2 + 2?</><assistant>It is");
    assert_eq!(with(&[("user", "Say a"), ("assistant", "a")]), "<user>Say a</><assistant>a");
    assert_eq!(with(&[("user", "Say user"), ("assistant", "")]), "<user>Say user</><assistant>");
    assert_eq!(
        with(&[("user", "Hi"), ("assistant", "Ho "), ("user", "Hi")]),
        "<user>Hi</><assistant>Ho </><user>Hi</><assistant>"
    );
    // White space at the end goes, as in TGI.
    assert_eq!(with(&[("user", "Hi"), ("assistant", "So \n")]), "<user>Hi</><assistant>So");
    let parts = json!({"messages": [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}]});
    assert!(render(&template, &parts).unwrap().ends_with("<assistant>"));
}

#[test]
fn an_answer_that_the_template_trims_is_continued() {
    let template =
        template("{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}</>{% endfor %}<assistant>");
    let context = json!({"messages": chat(&[("user", "Hi"), ("assistant", " So\n")])});
    assert_eq!(render(&template, &context).unwrap(), "<user>Hi</><assistant>So");
    let context = json!({"messages": chat(&[("user", "Hi"), ("assistant", "")])});
    assert_eq!(render(&template, &context).unwrap(), "<user>Hi</><assistant>");
}

#[test]
fn an_answer_that_the_template_does_not_show() {
    let context = json!({"messages": chat(&[("user", "Hi"), ("assistant", "So")])});
    assert_eq!(
        render(&template("{{ messages[0].content }} <assistant>"), &context).unwrap(),
        "Hi <assistant>"
    );
    let shown_as_json = template("{{ messages|tojson }}");
    let prompt = render(&shown_as_json, &context).unwrap();
    assert!(prompt.ends_with("\"content\": \"So"), "{prompt}");
}

#[test]
fn variables_of_the_request() {
    let template = template(
        "{{ a }} {{ b.c }} {{ messages|length }} {{ bos_token }} {{ tools }} {{ add_generation_prompt }}",
    );
    let extra =
        json!({"a": 1, "b": {"c": [true, null]}, "messages": [1, 2, 3], "tools": "no", "bos_token": "<own>"});
    let context = json!({"messages": chat(&[("user", "Hi")]), "extra": extra});
    assert_eq!(render(&template, &context).unwrap(), "1 [True, None] 1 <own> None True");
}

#[test]
fn tools_are_noticed() {
    let uses = |source| template(source).uses_tools();
    assert!(uses("{% if tools %}{{ tools|tojson }}{% endif %}"));
    assert!(uses("{% for tool in tools %}{{ tool.function.name }}{% endfor %}"));
    assert!(uses("{{ tools[0].function.name }}"));
    assert!(!uses("{{ messages[0].tools }} {# tools #} tools {% set tools = 1 %}{{ tools }}"));
    assert!(!uses(SHOW_ALL));
}

#[test]
fn generation_tags_are_nothing() {
    assert_eq!(show("a {% generation %}b{% endgeneration %} c"), "a b c");
    assert_eq!(show("a {%- generation -%} b {%-endgeneration-%} c"), "abc");
    assert_eq!(show("a\n  {% generation %}\nb\n  {% endgeneration %}\nc"), "a\nb\nc");
    assert_eq!(show("{% set generation = 1 %}{{ generation }}{% if generation %}x{% endif %}"), "1x");
}

#[test]
fn errors_say_what_and_where() {
    let error =
        |source| render(&template(source), &json!({"messages": chat(&[("user", "Hi")])})).unwrap_err();
    assert_eq!(error("{{ raise_exception('Not so!') }}"), "syntax error: Not so! (in <string>:1)");
    assert_eq!(error("\n{{ nothing.more }}"), "undefined value: `nothing` is undefined (in <string>:2)");
    assert!(error("{{ 1 + 'a' }}").contains("unsupported types"));
    assert!(error("{{ 'a' + nothing }}").contains("undefined"));
    assert!(error("{{ no_such_function() }}").contains("no_such_function"));
    assert!(error("{{ 'a'|no_such_filter }}").contains("no_such_filter"));
}

#[test]
fn the_date() {
    let date = show("{{ strftime_now('%Y-%m-%d') }}");
    let parts: Vec<usize> = date.split('-').map(str::len).collect();
    assert_eq!(parts, [4, 2, 2], "{date}");
    assert_eq!(show("{{ strftime_now('%d %b %Y')|length }} {{ strftime_now('%%') }}"), "11 %");
}

#[test]
fn long_chats_are_no_bombs() {
    for name in ["llama2", "llama3", "mistral", "gemma", "qwen", "chatml", "zephyr"] {
        let source = fs::read_to_string(data().join(format!("templates/{name}.jinja"))).unwrap();
        let template = template(&source);
        let turn =
            |index: usize, text: &str| json!({"role": (["user", "assistant"][index % 2]), "content": text});
        let many: Vec<Value> = (0..4001).map(|index| turn(index, "ok")).collect();
        assert!(
            render(&template, &json!({ "messages": many })).unwrap().matches("ok").count() > 4000,
            "{name}"
        );
        let large: Vec<Value> = (0..3).map(|index| turn(index, &"long ".repeat(100_000))).collect();
        assert!(render(&template, &json!({ "messages": large })).unwrap().len() > 1_400_000, "{name}");
    }
}

#[test]
fn long_tool_lists_are_no_bombs() {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string", "description": "<Where> & 'when'"}}});
    let tool = json!({"type": "function", "function": {"name": "f", "description": "Ä \"tool\"", "parameters": parameters}});
    for name in ["llama3", "mistral", "qwen"] {
        let source = fs::read_to_string(data().join(format!("templates/{name}.jinja"))).unwrap();
        let context = json!({"messages": chat(&[("user", "Hi")]), "tools": vec![&tool; 500]});
        let prompt = render(&template(&source), &context).unwrap();
        assert_eq!(prompt.matches("<Where> & 'when'").count(), 500, "{name}");
    }
}
