//! `/v1/*` and `/chat_tokenize`, with OpenAI's meaning.

use gristmill_integration_tests::mock_shard::vocabulary::{self, continuation, texts};
use gristmill_integration_tests::mock_shard::{Options, Rpc};
use serde_json::{Value, json};

use crate::{Rig, generated, ids};

/// What the chat template makes of one user message.
fn prompt(content: &str) -> String {
    format!("<s>user: {content}\nassistant:")
}

/// The tokens that answer a chat of one user message.
fn chatted(content: &str, count: usize) -> Vec<u32> {
    continuation(&ids(&prompt(content), false), count, 0)
}

fn chat(content: &str, more: Value) -> Value {
    extended(json!({"model": "tgi", "messages": [{"role": "user", "content": content}]}), more)
}

fn completion(prompt: impl Into<Value>, more: Value) -> Value {
    extended(json!({"model": "m", "prompt": prompt.into()}), more)
}

fn extended(mut body: Value, more: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut body, more) else { panic!("no objects") };
    fields.extend(more);
    body
}

/// The texts of a stream's chunks, joined.
fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[test]
fn a_chat_is_answered() {
    let rig = Rig::new(&["--revision", "r1"]);
    let answer = rig.client.post("/v1/chat/completions", &chat("hi", json!({"max_tokens": 3})));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let model = rig.client.get("/info").json()["model_id"].clone();
    let prompt_tokens = ids(&prompt("hi"), false).len();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert!(body["system_fingerprint"].as_str().unwrap().ends_with("-native"));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &model));
    let message = json!({"role": "assistant", "content": texts(&chatted("hi", 3))});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "length"});
    assert_eq!(body["choices"], json!([choice]));
    let usage =
        json!({"prompt_tokens": prompt_tokens, "completion_tokens": 3, "total_tokens": prompt_tokens + 3});
    assert_eq!(body["usage"], usage);
    assert_eq!(answer.header("x-generated-tokens"), "3");
    assert_eq!(answer.header("x-compute-characters"), prompt("hi").chars().count().to_string());
}

#[test]
fn ids_differ_and_any_model_name_is_echoed() {
    let rig = Rig::new(&[]);
    let ask = || {
        rig.client.post("/v1/chat/completions", &chat("hi", json!({"max_tokens": 1, "model": "any"}))).json()
    };
    let (first, second) = (ask(), ask());
    assert_ne!(first["id"], second["id"]);
    assert_eq!(first["model"], "any");
}

#[test]
fn a_chat_streams_role_text_and_reason_then_done() {
    let rig = Rig::new(&[]);
    let body =
        chat("hi", json!({"max_tokens": 2, "stream": true, "stream_options": {"include_usage": true}}));
    let mut stream = rig.client.stream("/v1/chat/completions", &body);
    assert_eq!((stream.status, &stream.headers["x-accel-buffering"]), (200, &"no".parse().unwrap()));
    let chunks = stream.rest();
    let tokens = chatted("hi", 2);
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    let expected = [
        choice(json!({"role": "assistant", "content": ""}), Value::Null),
        choice(json!({"content": texts(&tokens[..1])}), Value::Null),
        choice(json!({"content": texts(&tokens[1..])}), Value::Null),
        choice(json!({}), json!("length")),
        json!([]),
    ];
    assert_eq!(chunks.len(), 6);
    for (chunk, choices) in chunks.iter().zip(expected) {
        assert_eq!((&chunk["choices"], &chunk["object"]), (&choices, &json!("chat.completion.chunk")));
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert_eq!(chunk["usage"].is_null(), !choices.as_array().unwrap().is_empty());
    }
    assert_eq!(chunks[4]["usage"]["completion_tokens"], 2);
    assert_eq!(chunks[5], "[DONE]");
}

#[test]
fn temperature_zero_is_greedy_absent_samples_and_top_p_one_is_off() {
    let rig = Rig::new(&[]);
    let sent = |more: Value| {
        let answer = rig.client.post("/v1/chat/completions", &chat("hi", more));
        assert_eq!(answer.status, 200, "{answer:?}");
        let parameters = rig.last_request().parameters.unwrap();
        (parameters.do_sample, parameters.temperature, parameters.top_p)
    };
    assert_eq!(sent(json!({"max_tokens": 1, "temperature": 0, "top_p": 0.5})), (false, 1.0, 1.0));
    assert_eq!(sent(json!({"max_tokens": 1})), (true, 1.0, 1.0));
    assert_eq!(sent(json!({"max_completion_tokens": 1, "temperature": 0.5, "top_p": 1})), (true, 0.5, 1.0));
    assert_eq!(sent(json!({"max_tokens": 1, "temperature": 0.5, "top_p": 0.25})), (true, 0.5, 0.25));
    assert_eq!(rig.last_request().stopping_parameters.unwrap().max_new_tokens, 1);
    assert!(!rig.last_request().add_special_tokens);
}

/// Each stop string is found wherever it begins, and neither it nor what follows is shown.
#[test]
fn text_is_cut_before_a_stop_string() {
    let rig = Rig::new(&[]);
    let all = texts(&chatted("hi", 8));
    // From the middle of the third token to the middle of the fourth: no token ends with it.
    let third = texts(&chatted("hi", 2)).len();
    let stop = &all[third + 1..third + 5];
    let cut = all.find(stop).unwrap();
    for stop in [json!(stop), json!(["never", stop]), json!([stop, ""])] {
        let body = chat("hi", json!({"max_tokens": 8, "stop": stop}));
        let answer = rig.client.post("/v1/chat/completions", &body).json();
        assert_eq!(answer["choices"][0]["message"]["content"], all[..cut], "{stop}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let mut stream = body.clone();
        stream["stream"] = true.into();
        let chunks = rig.client.stream("/v1/chat/completions", &stream).rest();
        assert_eq!(text_of(&chunks), all[..cut]);
        assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn text_held_back_for_a_stop_string_comes_at_the_end() {
    let rig = Rig::new(&[]);
    let all = texts(&chatted("hi", 2));
    let stop = format!("{}x", &all[all.len() - 3..]);
    let chunks = rig
        .client
        .stream("/v1/chat/completions", &chat("hi", json!({"max_tokens": 2, "stop": stop, "stream": true})));
    let chunks = { chunks }.rest();
    assert_eq!(text_of(&chunks), all);
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_end_token_stops_and_is_not_text() {
    let rig = Rig::with(Options { eos_every: 4, ..Options::default() }, &[]);
    let tokens = continuation(&ids(&prompt("hi"), false), 200, 4);
    assert_eq!(tokens.last(), Some(&vocabulary::EOS));
    let answer = rig.client.post("/v1/chat/completions", &chat("hi", json!({"max_tokens": 200}))).json();
    assert_eq!(answer["choices"][0]["message"]["content"], texts(&tokens[..tokens.len() - 1]));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], tokens.len());
}

#[test]
fn logprobs_are_openais() {
    let rig = Rig::new(&[]);
    let body = chat("hi", json!({"max_tokens": 2, "logprobs": true, "top_logprobs": 2}));
    let answer = rig.client.post("/v1/chat/completions", &body).json();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let tokens = chatted("hi", 2);
    let text = vocabulary::text(tokens[0]);
    assert_eq!(content.len(), 2);
    assert_eq!((&content[0]["token"], &content[0]["bytes"]), (&json!(text), &json!(text.as_bytes())));
    assert_eq!(content[0]["logprob"].as_f64().unwrap() as f32, vocabulary::logprob(tokens[0]));
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let mut stream = body.clone();
    stream["stream"] = true.into();
    let chunks = rig.client.stream("/v1/chat/completions", &stream).rest();
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["content"], json!([content[0]]));
    assert!(chunks[0]["choices"][0]["logprobs"].is_null());
}

#[test]
fn chat_tokenize_shows_the_prompt_and_its_tokens() {
    let rig = Rig::new(&[]);
    let answer = rig.client.post("/chat_tokenize", &chat("hi", json!({}))).json();
    assert_eq!(answer["templated_text"], prompt("hi"));
    let found = answer["tokenize_response"].as_array().unwrap().iter();
    let found: Vec<_> = found.map(|token| token["id"].as_u64().unwrap() as u32).collect();
    assert_eq!(found, ids(&prompt("hi"), false));
}

#[test]
fn messages_have_many_forms() {
    let rig = Rig::new(&[]);
    let rendered = |messages: Value| {
        let answer = rig.client.post("/chat_tokenize", &json!({"messages": messages}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["templated_text"].as_str().unwrap().to_owned()
    };
    let chunks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(rendered(json!([{"role": "user", "content": chunks}])), prompt("ab"));
    let calls = json!([{"role": "assistant", "content": null, "tool_calls": [{"id": "0"}]}, {"role": "user", "content": "x"}]);
    assert_eq!(rendered(calls), "<s>assistant: [{\"id\":\"0\"}]\n<s>user: x\nassistant:");
    let continued = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "It is"}]);
    assert_eq!(rendered(continued), "<s>user: x\n<s>assistant: It is");
}

#[test]
fn one_prompt_is_completed() {
    let rig = Rig::new(&[]);
    let answer = rig.client.post("/v1/completions", &completion("hi", json!({"max_tokens": 3})));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!((&body["object"], &body["model"]), (&json!("text_completion"), &json!("m")));
    let choice =
        json!({"index": 0, "text": texts(&generated("hi", 3)), "logprobs": null, "finish_reason": "length"});
    assert_eq!(body["choices"], json!([choice]));
    assert_eq!(body["usage"]["completion_tokens"], 3);
    assert_eq!((answer.header("x-generated-tokens"), answer.header("x-compute-time")), ("3", ""));
}

#[test]
fn several_prompts_are_completed_together() {
    let rig = Rig::new(&[]);
    let prompts = ["one", "two", "three"];
    let answer = rig.client.post("/v1/completions", &completion(prompts.to_vec(), json!({"max_tokens": 2})));
    let body = answer.json();
    for (index, prompt) in prompts.iter().enumerate() {
        assert_eq!(body["choices"][index]["index"], index);
        assert_eq!(body["choices"][index]["text"], texts(&generated(prompt, 2)));
    }
    let prompt_tokens: usize = prompts.iter().map(|prompt| ids(prompt, true).len()).sum();
    let usage =
        json!({"prompt_tokens": prompt_tokens, "completion_tokens": 6, "total_tokens": prompt_tokens + 6});
    assert_eq!(body["usage"], usage);
    assert_eq!(answer.header("x-prompt-tokens"), prompt_tokens.to_string());
}

#[test]
fn several_prompts_stream_together_told_apart_by_index() {
    let rig = Rig::new(&[]);
    let more = json!({"max_tokens": 2, "stream": true, "stream_options": {"include_usage": true}});
    let chunks = rig.client.stream("/v1/completions", &completion(vec!["one", "two"], more)).rest();
    for (index, prompt) in ["one", "two"].iter().enumerate() {
        let choices: Vec<_> =
            chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index).collect();
        let text: String = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(text, texts(&generated(prompt, 2)));
        assert!(choices[0]["finish_reason"].is_null());
        assert_eq!(choices[1]["finish_reason"], "length");
    }
    assert_eq!(chunks[chunks.len() - 2]["usage"]["completion_tokens"], 4);
    assert_eq!(chunks[chunks.len() - 1], "[DONE]");
}

#[test]
fn completion_logprobs_have_offsets() {
    let rig = Rig::new(&[]);
    let body = completion("hi", json!({"max_tokens": 2, "logprobs": 1}));
    let logprobs = rig.client.post("/v1/completions", &body).json()["choices"][0]["logprobs"].clone();
    let tokens = generated("hi", 2);
    let each: Vec<_> = tokens.iter().map(|id| vocabulary::text(*id)).collect();
    assert_eq!((&logprobs["tokens"], &logprobs["text_offset"]), (&json!(each), &json!([0, each[0].len()])));
    assert!(logprobs["top_logprobs"][0][&each[0]].is_number());
    let mut stream = body.clone();
    stream["stream"] = true.into();
    let chunks = rig.client.stream("/v1/completions", &stream).rest();
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["text_offset"], json!([each[0].len()]));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let rig = Rig::new(&[]);
    let refused = |path: &str, body: Value, text: &str, param: &str| {
        let answer = rig.client.post(path, &body);
        assert_eq!(answer.status, 422, "{answer:?}");
        let error = answer.json()["error"].clone();
        assert_eq!((&error["message"], &error["param"]), (&json!(text), &json!(param)));
    };
    let chat_path = "/v1/chat/completions";
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
    refused(chat_path, chat("hi", tools.clone()), "Tool error: tools are not yet supported", "tools");
    let mut both = tools.clone();
    both["response_format"] = json!({"type": "json_object", "value": {}});
    refused(chat_path, chat("hi", both), "Tool error: Grammar and tools are mutually exclusive", "tools");
    let format = json!({"response_format": {"type": "json_object"}});
    refused(chat_path, chat("hi", format), "Input validation error: grammar is not supported", "grammar");
    let shared = [
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"n": 2}), "n"),
    ];
    for (more, field) in shared {
        let text = format!("Input validation error: {field} is not yet supported");
        refused(chat_path, chat("hi", more.clone()), &text, field);
        refused("/v1/completions", completion("hi", more), &text, field);
    }
    for field in ["echo", "best_of"] {
        let more = if field == "echo" { json!({"echo": true}) } else { json!({"best_of": 2}) };
        let text = format!("Input validation error: {field} is not yet supported");
        refused("/v1/completions", completion("hi", more), &text, field);
    }
    let chunk = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
    let image = json!({"messages": [{"role": "user", "content": chunk}]});
    let answer = rig.client.post(chat_path, &image);
    let text = "Input validation error: image modality is not supported";
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (422, &json!(text)));
}

#[test]
fn neutral_values_of_what_cannot_be_honoured_are_fine() {
    let rig = Rig::new(&[]);
    let more = json!({
        "max_tokens": 1, "presence_penalty": 0, "logit_bias": {}, "n": 1, "tools": [], "tool_choice": "none",
        "response_format": {"type": "text"}, "user": "u", "parallel_tool_calls": true, "stream_options": null,
    });
    let answer = rig.client.post("/v1/chat/completions", &chat("hi", more));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn what_fails_before_the_first_token_is_the_status_of_a_stream() {
    let rig = Rig::new(&[]);
    let body = chat("hi", json!({"stream": true, "temperature": -1}));
    let answer = rig.client.post("/v1/chat/completions", &body);
    assert_eq!((answer.status, answer.header("content-type")), (422, "application/json"));
    rig.shards.fail_next(Rpc::Prefill, "boom");
    let answer = rig.client.post("/v1/chat/completions", &chat("hi", json!({"stream": true})));
    assert_eq!(answer.status, 424, "{answer:?}");
    assert_eq!(
        (&answer.json()["error"]["type"], &answer.json()["error_type"]),
        (&json!("server_error"), &json!("generation"))
    );
}

#[test]
fn what_fails_later_is_an_event_and_then_done() {
    let rig = Rig::new(&[]);
    rig.shards.hold(Rpc::Decode);
    let mut stream = rig.client.stream("/v1/chat/completions", &chat("hi", json!({"stream": true})));
    let text = stream.next_json().into_iter().chain(stream.next_json()).collect::<Vec<_>>();
    assert_eq!(text_of(&text), texts(&chatted("hi", 1)));
    rig.shards.fail_next(Rpc::Decode, "boom");
    rig.shards.open(Rpc::Decode);
    let rest = stream.rest();
    assert_eq!(rest.len(), 2);
    let message = rest[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Request failed during generation: ") && message.contains("boom"),
        "{message}"
    );
    assert_eq!((&rest[0]["error"]["http_status_code"], &rest[1]), (&json!(424), &json!("[DONE]")));
}
