//! Every error row that concerns text generation, over HTTP: status, type and text.

use gristmill_integration_tests::mock_shard::{MockShards, Options, Rpc};
use gristmill_integration_tests::server::{Server, model_folder, router_arguments};
use serde_json::{Value, json};

use crate::Rig;

/// Small limits, so that every one of them can be passed.
const LIMITS: &[&str] = &["--max-input-tokens", "20", "--max-total-tokens", "30"];

const LONG: &str = "a a a a a a a a a a a a a a a a a a a a a a a a";

/// Inputs, parameters, and what TGI says to them after `Input validation error: `.
fn rows() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("a", json!({"best_of": 2}), "you must use sampling when `best_of` is > 1"),
        ("a", json!({"temperature": 0}), "`temperature` must be strictly positive"),
        ("a", json!({"repetition_penalty": 0}), "`repetition_penalty` must be strictly positive"),
        ("a", json!({"frequency_penalty": 2.5}), "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ("a", json!({"top_p": 1}), "`top_p` must be > 0.0 and < 1.0"),
        ("a", json!({"typical_p": 0}), "`typical_p` must be > 0.0 and < 1.0"),
        ("a", json!({"top_k": 0}), "`top_k` must be strictly positive"),
        ("a", json!({"max_new_tokens": 0}), "`max_new_tokens` must be strictly positive"),
        ("a", json!({"stop": ["a", "b", "c", "d", "e"]}), "`stop` supports up to 4 stop sequences. Given: 5"),
        (
            "a",
            json!({"best_of": 2, "do_sample": true, "seed": 1}),
            "`seed` must not be set when `best_of` > 1",
        ),
        ("a", json!({"top_n_tokens": 6}), "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
        ("", json!({}), "`inputs` cannot be empty"),
        ("a", json!({"truncate": 21}), "`truncate` must be strictly positive and less than 20. Given: 21"),
        (
            "a",
            json!({"max_new_tokens": 29}),
            "`inputs` tokens + `max_new_tokens` must be <= 30. Given: 2 `inputs` tokens and 29 `max_new_tokens`",
        ),
        (LONG, json!({"max_new_tokens": 1}), "`inputs` must have less than 20 tokens. Given: 25"),
        ("a", json!({"grammar": {"type": "regex", "value": "a"}}), "grammar is not supported"),
        ("a", json!({"adapter_id": "x"}), "adapter_id `x` is not a loaded adapter"),
    ]
}

fn invalid(text: &str) -> Value {
    json!({"error": format!("Input validation error: {text}"), "error_type": "validation"})
}

#[test]
fn validation_errors_are_422_with_tgis_texts() {
    let rig = Rig::new(LIMITS);
    for (inputs, parameters, text) in rows() {
        let body = json!({"inputs": inputs, "parameters": parameters});
        for path in ["/generate", "/"] {
            let answer = rig.client.post(path, &body);
            assert_eq!((answer.status, answer.json()), (422, invalid(text)), "{path} {body}");
        }
    }
    let failures = rig.metric("tgi_request_failure{err=\"validation\"}").unwrap();
    assert_eq!(failures as usize, 2 * rows().len());
}

#[test]
fn a_stream_tells_them_in_an_event_with_status_200() {
    let rig = Rig::new(LIMITS);
    let of_streams = [
        ("a", json!({"best_of": 2}), "`best_of` != 1 is not supported when streaming tokens"),
        ("a", json!({"best_of": 0}), "`best_of` != 1 is not supported when streaming tokens"),
        (
            "a",
            json!({"decoder_input_details": true}),
            "`decoder_input_details` == true is not supported when streaming tokens",
        ),
    ];
    let others = rows().into_iter().filter(|(_, parameters, _)| parameters["best_of"].is_null());
    for (inputs, parameters, text) in of_streams.into_iter().chain(others) {
        let body = json!({"inputs": inputs, "parameters": parameters, "stream": true});
        for path in ["/generate_stream", "/"] {
            let mut stream = rig.client.stream(path, &body);
            assert_eq!((stream.status, stream.rest()), (200, vec![invalid(text)]), "{path} {body}");
        }
    }
}

#[test]
fn best_of_is_bounded() {
    let body = |best_of: u64| json!({"inputs": "a", "parameters": {"best_of": best_of, "do_sample": true, "max_new_tokens": 1}});
    let rig = Rig::new(&[]);
    let answer = rig.client.post("/generate", &body(3));
    assert_eq!(answer.json(), invalid("`best_of` must be > 0 and <= 2. Given: 3"));
    assert_eq!(rig.client.post("/generate", &body(u64::MAX)).status, 422);
    assert_eq!(rig.client.post("/generate", &body(0)).status, 200);
    let rig = Rig::new(&["--max-best-of", "1"]);
    let answer = rig.client.post("/generate", &body(2));
    assert_eq!(answer.json(), invalid("`best_of` != 1 is not allowed for this endpoint"));
}

#[test]
fn bodies_that_are_no_json_are_answered_in_plain_text() {
    let rig = Rig::new(&["--payload-limit", "1000"]);
    let plain = |path: &str, body: &str| {
        let answer = rig.client.post_text(path, body);
        assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");
        (answer.status, answer.body)
    };
    for path in ["/", "/generate", "/generate_stream", "/tokenize", "/v1/chat/completions", "/v1/completions"]
    {
        let (status, text) = plain(path, "{");
        assert_eq!(status, 400);
        assert!(text.starts_with("Failed to parse the request body as JSON: "), "{text}");
        assert!(text.contains(" at line 1 column 1"), "{text}");
        let (status, text) = plain(path, "{}");
        assert_eq!(status, 422);
        assert!(
            text.starts_with("Failed to deserialize the JSON body into the target type: missing field"),
            "{text}"
        );
        let (status, text) = plain(path, &format!("{{\"inputs\": \"{}\"}}", "a".repeat(1000)));
        assert_eq!(
            (status, text.as_str()),
            (413, "Failed to buffer the request body: length limit exceeded")
        );
        let answer = rig.client.post_untyped(path, "{}");
        let text = "Expected request with `Content-Type: application/json`";
        assert_eq!((answer.status, answer.body.as_str()), (415, text));
    }
}

#[test]
fn depth_is_refused_quickly_and_unknown_depth_is_skipped() {
    let rig = Rig::new(&[]);
    let deep = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    let message = |field: &str, count: usize| format!("{{\"messages\": [], \"{field}\": {}}}", deep(count));
    let answer = rig.client.post_text("/v1/chat/completions", &message("tools", 900_000));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("recursion limit exceeded"), "{}", answer.body);
    let answer = rig.client.post_text("/generate", &format!("{{\"inputs\": {}}}", deep(900_000)));
    assert!([400, 422].contains(&answer.status), "{}", answer.body);
    let body =
        format!("{{\"x\": {}, \"inputs\": \"a\", \"parameters\": {{\"max_new_tokens\": 1}}}}", deep(100));
    assert_eq!(rig.client.post_text("/generate", &body).status, 200);
}

#[test]
fn completions_have_errors_of_their_own() {
    let rig = Rig::new(&[]);
    let error = |body: Value| {
        let answer = rig.client.post("/v1/completions", &body);
        assert_eq!(answer.status, 422, "{answer:?}");
        (answer.json()["error"]["message"].as_str().unwrap().to_owned(), answer.json()["error_type"].clone())
    };
    let text = "Suffix is not supported and can be achieved by preprocessing the prompt.";
    assert_eq!(
        error(json!({"prompt": "a", "suffix": "b"})),
        (text.to_owned(), json!("suffix not supported"))
    );
    let text = "Number of prompts exceeds the maximum allowed batch size of 4";
    assert_eq!(error(json!({"prompt": vec!["a"; 5]})), (text.to_owned(), json!("batch size exceeded")));
    let answer = rig.client.post("/v1/completions", &json!({"prompt": []}));
    let text = "Failed to deserialize the JSON body into the target type: prompt: Empty array detected. \
                Do not use an empty array for the prompt. at line 1 column ";
    assert_eq!(answer.status, 422);
    assert!(answer.body.starts_with(text), "{}", answer.body);
}

#[test]
fn templates_fail_with_their_reason() {
    let rig = Rig::new(&[]);
    let body = json!({"messages": [{"role": "nobody", "content": "x"}]});
    for path in ["/v1/chat/completions", "/chat_tokenize"] {
        let answer = rig.client.post(path, &body);
        assert_eq!((answer.status, &answer.json()["error_type"]), (422, &json!("template_error")));
        assert!(
            answer.body.contains("Template error: ") && answer.body.contains("nobody may not speak"),
            "{answer:?}"
        );
    }
    assert_eq!(rig.metric("tgi_request_failure{err=\"template\"}"), Some(1.0));
    let body = json!({"messages": [{"role": "user"}]});
    let answer = rig.client.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 422);
    assert!(
        answer.body.contains("data did not match any variant of untagged enum MessageBody"),
        "{answer:?}"
    );
}

#[test]
fn a_model_without_a_template_cannot_chat() {
    let shards = MockShards::start(Options::default());
    let folder = model_folder(None);
    let server = Server::start(router_arguments(folder.path(), &shards, &[]));
    let body = json!({"messages": [{"role": "user", "content": "x"}]});
    let answer = server.client().post("/chat_tokenize", &body);
    let expected = json!({"error": "Template error: template not found", "error_type": "template_error"});
    assert_eq!((answer.status, answer.json()), (422, expected));
    drop(server);
}

#[test]
fn a_shard_that_fails_is_424() {
    let rig = Rig::new(&[]);
    for rpc in [Rpc::Prefill, Rpc::Decode] {
        rig.shards.fail_next(rpc, "boom");
        let answer =
            rig.client.post("/generate", &json!({"inputs": "a", "parameters": {"max_new_tokens": 4}}));
        assert_eq!((answer.status, &answer.json()["error_type"]), (424, &json!("generation")));
        let text = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Request failed during generation: ") && text.contains("boom"), "{text}");
    }
    rig.shards.fail_next(Rpc::Prefill, "boom");
    let events = rig.client.stream("/generate_stream", &json!({"inputs": "a"})).rest();
    assert_eq!((events.len(), &events[0]["error_type"]), (1, &json!("generation")));
    assert_eq!(rig.metric("tgi_request_failure{err=\"generation\"}"), Some(3.0));
}
