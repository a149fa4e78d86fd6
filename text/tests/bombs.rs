//! Templates and tokenizer files made to take all time, memory or stack there is. Each must end in an error.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what tests share may panic as tests do")]

use std::fs;
use std::path::Path;

use gristmill_text::limits::{MAX_ADDED_TOKENS, MAX_TAG_BYTES, MAX_TEMPLATE_BYTES};
use gristmill_text::{ChatTemplate, TemplateContext, TextError, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Loads and renders a template.
fn render(source: &str) -> Result<String, TextError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
    let template = ChatTemplate::load(folder.path(), None)?.unwrap();
    let messages = [json!({"role": "user", "content": "Hello"})];
    template.render(&TemplateContext {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        extra: None,
    })
}

#[track_caller]
fn refused(source: &str, reason: &str) {
    let shown: String = source.chars().take(60).collect();
    let error = render(source).expect_err(&shown).to_string();
    assert!(error.contains(reason), "{shown}: {error}");
}

/// A template that does something to a namespace's value `x` again and again.
fn grown(start: &str, step: &str, end: &str) -> String {
    format!(
        "{{% set ns = namespace(x={start}) %}}{{% for i in range(99999) %}}{{% set ns.x = {step} %}}{{% endfor %}}{end}"
    )
}

/// A list of 2^40 ones in 40 small lists, and what is done with it.
fn shared(end: &str) -> String {
    let grow = "{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    format!("{{% set ns = namespace(x=[1]) %}}{grow}{end}")
}

const OUT_OF_FUEL: &str = "engine ran out of fuel";

#[test]
fn loops() {
    refused("{% for i in range(10**9) %}x{% endfor %}", "range has too many elements");
    let nested = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}";
    refused(&format!("{nested}{{% endfor %}}{{% endfor %}}{{% endfor %}}"), OUT_OF_FUEL);
    refused(
        &format!("{{% for i in range(99999) %}}{}{{% endfor %}}", "x".repeat(1000)),
        "output is larger than",
    );
    refused("{% set x %}{% for i in range(99999) %}some text{% endfor %}{% endset %}", OUT_OF_FUEL);
    refused("{% filter upper %}{% for i in range(99999) %}some text{% endfor %}{% endfilter %}", OUT_OF_FUEL);
}

#[test]
fn recursion() {
    let limit = "recursion limit exceeded";
    refused("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", limit);
    refused("{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", limit);
    refused("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", limit);
    let caller = "{% macro f() %}{{ caller() }}{% endmacro %}";
    refused(
        &format!(
            "{caller}{{% macro g() %}}{{% call f() %}}{{{{ g() }}}}{{% endcall %}}{{% endmacro %}}{{{{ g() }}}}"
        ),
        limit,
    );
    refused("{% include '<string>' %}", "could not render include");
    refused("{% extends '<string>' %}", "cycle in template inheritance");
}

#[test]
fn texts() {
    for end in ["{{ ns.x }}", "{{ ns.x|length }}", ""] {
        refused(&grown("'x'", "ns.x + ns.x", end), OUT_OF_FUEL);
        refused(&grown("'x'", "ns.x ~ ns.x", end), OUT_OF_FUEL);
    }
    refused("{{ 'x' * 10**12 }}", OUT_OF_FUEL);
    refused("{{ ('x\\n' * 1000)|indent(1000000000) }}", OUT_OF_FUEL);
    refused("{{ ('x' * 100000).replace('x', 'y' * 100000)|length }}", OUT_OF_FUEL);
    refused("{{ ('x' * 100000)|replace('x', 'y' * 100000)|length }}", OUT_OF_FUEL);
    refused("{{ ('x' * 100000).join(range(99999))|length }}", OUT_OF_FUEL);
    refused("{{ range(99999)|join('x' * 100000)|length }}", OUT_OF_FUEL);
    refused("{{ ('{0}' * 10000).format('x' * 100000)|length }}", OUT_OF_FUEL);
    refused("{{ ('%(a)s' * 10000)|format(a='x' * 100000)|length }}", OUT_OF_FUEL);
    refused("{{ '{:>1000000000}'.format('x')|length }}", OUT_OF_FUEL);
    refused("{{ '{:.1000000000f}'.format(1.5)|length }}", OUT_OF_FUEL);
    refused("{{ '%1000000000d'|format(1)|length }}", OUT_OF_FUEL);
    refused("{{ [[1]]|tojson(indent=1000000000) }}", "cannot convert");
    refused("{{ strftime_now('%1000000000Y') }}", "invalid format string");
    refused("{{ 9 ** 9 ** 9 }}", "unable to calculate");
}

#[test]
fn lists() {
    refused("{{ [1]|batch(1000000000, 0)|list|length }}", OUT_OF_FUEL);
    refused("{{ [1]|slice(1000000000)|list|length }}", OUT_OF_FUEL);
    refused("{{ ('x' * 1000000).split('')|length }}", OUT_OF_FUEL);
    refused(&grown("[1, 2]", "ns.x + [1]", ""), OUT_OF_FUEL);
    refused(&grown("{'a': 1}", "dict(ns.x)", ""), OUT_OF_FUEL);
}

#[test]
fn shared_values() {
    refused(&shared("{{ ns.x }}"), OUT_OF_FUEL);
    refused(&shared("{{ ns.x|string|length }}"), OUT_OF_FUEL);
    refused(&shared("{{ ns.x|tojson|length }}"), OUT_OF_FUEL);
    refused(&shared("{{ ns.x|tojson(indent=2)|length }}"), OUT_OF_FUEL);
    refused(&shared("{% set y %}{{ ns.x }}{% endset %}{{ y|length }}"), OUT_OF_FUEL);
    refused(&shared("{{ '{}'.format(ns.x)|length }}"), OUT_OF_FUEL);
    refused(&shared("{{ '%s'|format(ns.x)|length }}"), OUT_OF_FUEL);
    refused(&shared("{{ raise_exception(ns.x) }}"), OUT_OF_FUEL);
    refused(&shared("{{ strftime_now(ns.x) }}"), "");
}

#[test]
fn deep_values() {
    refused(&grown("[]", "[ns.x]", ""), OUT_OF_FUEL);
    refused(&grown("{}", "{'a': ns.x}", ""), OUT_OF_FUEL);
    refused(&grown("1", "namespace(p=ns.x)", ""), OUT_OF_FUEL);
    let deep = |end: &str| grown("[]", "[ns.x]", end).replace("99999", "1500");
    assert!(render(&deep("{{ ns.x }}")).unwrap().ends_with("]]]]"));
    assert_eq!(render(&deep("{{ ns.x == [ns.x] }}")).unwrap(), "False");
    refused(&deep("{{ ns.x|tojson }}"), "nested too deep");
    refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", OUT_OF_FUEL);
    refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns|tojson }}", "nested too deep");
}

#[test]
fn long_chains() {
    let chains: &[(&str, &str, &str)] = &[
        ("{{ 1", " + 1", " }}"),
        ("{{ 1", " ~ 1", " }}"),
        ("{{ 1", " and 1", " }}"),
        ("{{ 1", " if 1 else 1", " }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ ", "not ", "1 }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ 'a'", "|upper", " }}"),
        ("{% set a = 1", " * 1", " %}"),
        ("{{ {'a': '}}'}.a", ".b", " }}"),
        ("{{ \"it's \\\" }}\"", "|lower", " }}"),
    ];
    for (start, link, end) in chains {
        let chain = |count: usize| format!("{start}{}{end}", link.repeat(count));
        refused(&chain(10_000), "a tag of");
        // The longest chain that is let through has to fit on the stack.
        let code = start.len() + end.len();
        drop(render(&chain((MAX_TAG_BYTES - code) / link.len())));
    }
    refused(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000)), "times \"elif\"");
    assert_eq!(render(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(1000))).unwrap(), "");
}

#[test]
fn deep_syntax() {
    let limit = "maximum recursion limits";
    refused(&format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000)), limit);
    refused(&format!("{{{{ {}{} }}}}", "[".repeat(2000), "]".repeat(2000)), limit);
    refused(&"{% if 1 %}".repeat(5000), limit);
    refused(&"{% for i in [1] %}".repeat(5000), limit);
    refused(&"{% generation %}".repeat(5000), limit);
}

#[test]
fn large_template() {
    let text = "x".repeat(usize::try_from(MAX_TEMPLATE_BYTES).unwrap() + 1);
    refused(&text, "chat_template.jinja: larger than");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), json!({ "chat_template": text }).to_string())
        .unwrap();
    let error = ChatTemplate::load(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: chat_template: larger than"), "{error}");
}

fn tokenizer_json() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/byte_level/tokenizer.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn load_tokenizer(json: &[u8]) -> Result<Tokenizer, TextError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    Tokenizer::load(folder.path())
}

#[track_caller]
fn tokenizer_refused(json: &Value, reason: &str) {
    let error = load_tokenizer(json.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains(reason), "{error}");
}

fn added(id: u64, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

#[test]
fn added_tokens() {
    let mut json = tokenizer_json();
    json["added_tokens"] = (0..=MAX_ADDED_TOKENS as u64).map(|id| added(id, "x")).collect();
    tokenizer_refused(&json, "added_tokens: 65537 tokens, more than 65536");
    json["added_tokens"] = json!([added(u64::from(u32::MAX), "far")]);
    tokenizer_refused(&json, "added_tokens[0].id: 4294967295 is more than");
    json["added_tokens"] = json!([added(0, "ok"), added(1, &"x".repeat(5000))]);
    tokenizer_refused(&json, "added_tokens[1].content: more than 4096 bytes");
}

#[test]
fn catastrophic_pattern() {
    let mut json = tokenizer_json();
    let pattern = json!({"Regex": "(?=(a+)+$)\\1b|(?=(x+x+)+y)x"});
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false},
        tokenizer_json()["pre_tokenizer"],
    ]});
    let tokenizer = load_tokenizer(json.to_string().as_bytes()).unwrap();
    // The pattern would take 2^50 steps. It is given up, and the rest of the text is not split by it.
    let text = "a".repeat(50) + &"x".repeat(50) + "!";
    let ids = tokenizer.encode(&text, false).unwrap().ids;
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
}

#[test]
fn deep_json() {
    let json = format!("{{\"model\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let error = load_tokenizer(json.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("recursion limit"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A damaged file is an error or a tokenizer that works on, never a panic.
    #[test]
    fn damaged_tokenizer(at in 0.0..1.0, cut in any::<bool>(), byte in any::<u8>(), text in ".{0,20}") {
        let mut json = tokenizer_json().to_string().into_bytes();
        let index = (at * json.len() as f64) as usize;
        if cut { json.truncate(index) } else { json[index] = byte }
        if let Ok(tokenizer) = load_tokenizer(&json) && let Ok(encoding) = tokenizer.encode(&text, true) {
            drop(tokenizer.decode(&encoding.ids, false));
        }
    }

    /// Neither is a damaged template.
    #[test]
    fn damaged_template(which in 0usize..8, at in 0.0..1.0, take in 0usize..40, put in "[{}%#\\[\\]().|'\" a-z0-9+-]{0,6}") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut source: Vec<char> = fs::read_to_string(&files[which]).unwrap().chars().collect();
        let start = (at * source.len() as f64) as usize;
        let end = (start + take).min(source.len());
        source.splice(start..end, put.chars());
        drop(render(&String::from_iter(source)));
    }
}
