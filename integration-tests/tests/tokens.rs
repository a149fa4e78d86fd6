//! The demo model's tokenizer and chat template, as converted from GGUF, against recorded results.

use gristmill_integration_tests::demo;
use gristmill_text::{ChatTemplate, TemplateContext, Tokenizer};

#[test]
fn ids_of_mixed_strings_equal_the_recorded() {
    let tokenizer = Tokenizer::load(demo::folder()).unwrap();
    let recorded: Vec<(String, Vec<u32>)> = demo::json("smollm2/tokens.json");
    assert_eq!(recorded.len(), 2000);
    for (text, ids) in recorded {
        assert_eq!(tokenizer.encode(&text, true).unwrap().ids, ids, "{text:?}");
    }
    for prompt in demo::prompts() {
        assert_eq!(tokenizer.encode(&prompt.text, true).unwrap().ids, prompt.ids, "{:?}", prompt.text);
    }
}

#[derive(serde::Deserialize)]
struct Chat {
    messages: Vec<serde_json::Value>,
    rendered: String,
}

#[test]
fn chats_render_as_recorded() {
    let template = ChatTemplate::load(demo::folder(), None).unwrap().unwrap();
    for chat in demo::json::<Vec<Chat>>("smollm2/chat.json") {
        let context = TemplateContext {
            messages: &chat.messages,
            tools: None,
            add_generation_prompt: true,
            extra: None,
        };
        assert_eq!(template.render(&context).unwrap(), chat.rendered);
    }
}
