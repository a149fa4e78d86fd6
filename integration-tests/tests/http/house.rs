//! What holds for every route: keys, origins, methods, slots, health, leaving, ending.

use std::io::{Read, Write};
use std::net::TcpStream;

use gristmill_integration_tests::mock_shard::vocabulary::texts;
use gristmill_integration_tests::mock_shard::{Message, MockShards, Options, Rpc};
use gristmill_integration_tests::server::{Server, model_folder, router_arguments};
use serde_json::{Value, json};

use crate::{Rig, generated, ids};

const PROTECTED: [&str; 6] =
    ["/", "/generate", "/generate_stream", "/tokenize", "/v1/chat/completions", "/v1/completions"];

#[test]
fn a_key_protects_what_costs_something() {
    let rig = Rig::new(&["--api-key", "Secret"]);
    for path in PROTECTED {
        for client in [&rig.client, &rig.client.with("authorization", "Bearer secret")] {
            let answer = client.post(path, &json!({}));
            assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{path}");
        }
        let answer = rig.client.with("authorization", "Bearer Secret").post(path, &json!({}));
        assert_eq!(answer.status, 422, "{path}");
    }
    for path in ["/", "/health", "/ping", "/info", "/metrics", "/v1/models"] {
        assert_eq!(rig.client.get(path).status, 200, "{path}");
    }
    assert_eq!(rig.client.post("/chat_tokenize", &json!({"messages": []})).status, 200);
}

#[test]
fn unknown_paths_are_404_and_wrong_methods_405_both_empty() {
    let rig = Rig::new(&[]);
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", "/generate", 405),
        ("POST", "/health", 405),
        ("DELETE", "/", 405),
    ] {
        let answer = rig.client.send(method, path);
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{method} {path}");
    }
}

#[test]
fn browsers_are_told_who_may_ask() {
    let preflight = |rig: &Rig, origin: &str| {
        let client = rig.client.with("origin", origin).with("access-control-request-method", "POST");
        client.with("access-control-request-headers", "content-type").send("OPTIONS", "/generate")
    };
    let rig = Rig::new(&["--api-key", "k"]);
    let answer = preflight(&rig, "http://a.example");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    assert_eq!(answer.header("access-control-allow-methods"), "GET,POST");
    assert_eq!(answer.header("access-control-allow-headers"), "content-type");
    let rig = Rig::new(&["--cors-allow-origin", "http://a.example"]);
    assert_eq!(preflight(&rig, "http://a.example").header("access-control-allow-origin"), "http://a.example");
    assert_eq!(preflight(&rig, "http://b.example").header("access-control-allow-origin"), "");
}

#[test]
fn info_and_models_tell_what_is_served() {
    let rig = Rig::new(&["--max-input-tokens", "20", "--max-total-tokens", "30", "--revision", "abc"]);
    let info = rig.client.get("/info").json();
    let model = info["model_id"].as_str().unwrap().to_owned();
    let expected = json!({
        "model_id": model,
        "model_sha": "abc",
        "model_pipeline_tag": null,
        "max_concurrent_requests": 128,
        "max_best_of": 2,
        "max_stop_sequences": 4,
        "max_input_tokens": 20,
        "max_total_tokens": 30,
        "validation_workers": 2,
        "max_client_batch_size": 4,
        "router": "text-generation-router",
        "version": info["version"],
        "sha": null,
        "docker_label": null,
    });
    assert_eq!(info, expected);
    let models = rig.client.get("/v1/models").json();
    let entry = json!({"id": model, "object": "model", "created": 0, "owned_by": model});
    assert_eq!(models, json!({"object": "list", "data": [entry]}));
}

#[test]
fn health_is_200_while_the_shard_answers_and_503_when_it_is_gone() {
    let mut rig = Rig::new(&[]);
    for path in ["/health", "/ping", "/"] {
        let answer = rig.client.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    rig.shards.die();
    let expected = json!({"error": "unhealthy", "error_type": "healthcheck"});
    // It dies in its own time, and a probe may be quicker.
    let mut answers = std::iter::repeat_with(|| rig.client.get("/health")).take(10_000);
    let answer = answers.find(|answer| answer.status != 200).unwrap();
    assert_eq!((answer.status, answer.json()), (503, expected));
}

/// A stream that has given its first token and waits for its second.
fn started(rig: &Rig, path: &str) -> gristmill_integration_tests::client::EventStream {
    let body = json!({
        "inputs": "hi", "parameters": {"max_new_tokens": 4},
        "prompt": "hi", "max_tokens": 4, "stream": true,
    });
    let mut stream = rig.client.stream(path, &body);
    stream.next_data().unwrap();
    stream
}

#[test]
fn a_full_house_turns_everybody_away_until_somebody_leaves() {
    let rig = Rig::new(&["--max-concurrent-requests", "2"]);
    rig.shards.hold(Rpc::Decode);
    let two = json!({"prompt": ["hi", "ho"], "max_tokens": 8, "stream": true});
    let mut running = rig.client.stream("/v1/completions", &two);
    let overloaded = json!({"error": "Model is overloaded", "error_type": "overloaded"});
    // Also who asks for what is not valid.
    for body in [json!({"inputs": "a"}), json!({"inputs": ""})] {
        let answer = rig.client.post("/generate", &body);
        assert_eq!((answer.status, answer.json()), (429, overloaded.clone()));
    }
    assert_eq!(rig.client.post("/tokenize", &json!({"inputs": "a"})).status, 429);
    let answer = rig.client.post("/v1/completions", &json!({"prompt": "a"}));
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(error["message"], "Model is overloaded");
    let mut events = rig.client.stream("/generate_stream", &json!({"inputs": "a"}));
    assert_eq!((events.status, events.rest()), (200, vec![overloaded]));
    assert_eq!(rig.metric("tgi_request_failure{err=\"overloaded\"}"), Some(4.0));
    rig.shards.open(Rpc::Decode);
    assert_eq!(running.rest().last(), Some(&json!("[DONE]")));
    let one = json!({"inputs": "a", "parameters": {"max_new_tokens": 1}});
    assert_eq!(rig.client.post("/generate", &one).status, 200);
}

#[test]
fn several_generations_take_several_slots() {
    let rig = Rig::new(&["--max-concurrent-requests", "2"]);
    let three = json!({"prompt": ["a", "b", "c"], "max_tokens": 1});
    assert_eq!(rig.client.post("/v1/completions", &three).status, 429);
    let two = json!({"prompt": ["a", "b"], "max_tokens": 1});
    assert_eq!(rig.client.post("/v1/completions", &two).status, 200);
    rig.shards.hold(Rpc::Decode);
    let _running = started(&rig, "/generate_stream");
    assert_eq!(rig.client.post("/v1/completions", &two).status, 429);
    let best = json!({"inputs": "a", "parameters": {"best_of": 2, "do_sample": true, "max_new_tokens": 1}});
    assert_eq!(rig.client.post("/generate", &best).status, 429);
    rig.shards.open(Rpc::Decode);
}

/// Whether the shards were told to forget a batch, or a part of one.
fn forgotten(message: &Message) -> bool {
    matches!(message, Message::ClearCache(Some(_)) | Message::FilterBatch(_))
}

#[test]
fn a_client_that_leaves_a_stream_cancels_it() {
    for path in ["/generate_stream", "/v1/completions"] {
        let rig = Rig::new(&[]);
        rig.shards.hold(Rpc::Decode);
        drop(started(&rig, path));
        rig.wait_for_dropped();
        rig.shards.open(Rpc::Decode);
        rig.wait_for(|calls| calls.iter().any(|call| forgotten(&call.message)));
    }
}

/// A client that hangs up while it waits for an answer at once.
#[test]
fn a_client_that_leaves_before_its_answer_cancels_it() {
    let rig = Rig::new(&["--max-concurrent-requests", "1"]);
    rig.shards.hold(Rpc::Decode);
    let body = json!({"inputs": "hi", "parameters": {"max_new_tokens": 4}}).to_string();
    let mut connection = TcpStream::connect(rig.server.address()).unwrap();
    let head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    write!(connection, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    rig.wait_for(|calls| calls.iter().any(|call| call.rpc() == Rpc::Decode));
    drop(connection);
    rig.wait_for_dropped();
    rig.shards.open(Rpc::Decode);
    rig.wait_for(|calls| calls.iter().any(|call| forgotten(&call.message)));
    assert_eq!(
        rig.client.post("/generate", &json!({"inputs": "a", "parameters": {"max_new_tokens": 1}})).status,
        200
    );
}

/// A stop string that only the router sees ends the request on the shard as well, and is no failure.
#[test]
fn a_stop_string_frees_the_shard() {
    let rig = Rig::new(&[]);
    // No token ends with its second character.
    let stop = &texts(&generated("hi", 1))[1..2];
    let answer =
        rig.client.post("/v1/completions", &json!({"prompt": "hi", "max_tokens": 500, "stop": stop}));
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 1);
    assert_eq!(rig.metric("tgi_request_success"), Some(1.0));
    rig.wait_for(|calls| calls.iter().any(|call| forgotten(&call.message)));
    assert_eq!(rig.metric("tgi_request_failure{err=\"dropped\"}"), None);
}

#[test]
fn metrics_tell_what_happened() {
    let rig = Rig::new(&[]);
    let body = json!({"inputs": "hi", "parameters": {"max_new_tokens": 3}});
    assert_eq!(rig.client.post("/generate", &body).status, 200);
    assert_eq!(rig.metric("tgi_request_count"), Some(1.0));
    assert_eq!(rig.metric("tgi_request_success"), Some(1.0));
    let sums = [
        ("tgi_request_generated_tokens", 3.0),
        ("tgi_request_max_new_tokens", 3.0),
        ("tgi_request_input_length", ids("hi", true).len() as f64),
    ];
    for (name, sum) in sums {
        assert_eq!(rig.metric(&format!("{name}_sum")), Some(sum), "{name}");
    }
    for name in ["", "_validation", "_queue", "_inference", "_mean_time_per_token"] {
        assert_eq!(rig.metric(&format!("tgi_request{name}_duration_count")), Some(1.0), "{name}");
    }
}

#[test]
fn sigterm_lets_streams_finish_and_takes_no_more() {
    let mut rig = Rig::new(&[]);
    rig.shards.hold(Rpc::Decode);
    let mut stream = started(&rig, "/generate_stream");
    // Neither an idle connection nor half a request holds the server up.
    let idle = TcpStream::connect(rig.server.address()).unwrap();
    let mut half = TcpStream::connect(rig.server.address()).unwrap();
    half.write_all(b"POST /generate HTTP/1.1\r\nhost: x\r\n").unwrap();
    rig.server.terminate();
    rig.server.wait_for_output("signal received, starting graceful shutdown");
    while TcpStream::connect(rig.server.address()).is_ok() {
        std::thread::yield_now();
    }
    rig.shards.open(Rpc::Decode);
    let rest = stream.rest();
    assert_eq!((rest.len(), rest[2]["generated_text"].is_string()), (3, true));
    assert!(rig.server.wait().success());
    drop((idle, half));
}

#[test]
fn the_log_says_connected_and_one_success_a_request() {
    let rig = Rig::new(&[]);
    rig.client.post("/generate", &json!({"inputs": "hi", "parameters": {"max_new_tokens": 1}}));
    rig.server.wait_for_output("Success");
    let output = rig.server.output();
    assert!(output.contains("Connected"), "{output}");
    for field in [
        "parameters",
        "total_time",
        "validation_time",
        "queue_time",
        "inference_time",
        "time_per_token",
        "seed",
    ] {
        assert!(output.contains(&format!("{field}=")), "{field} in {output}");
    }
}

#[test]
fn a_port_in_use_and_a_missing_tokenizer_are_named() {
    let shards = MockShards::start(Options::default());
    let bare = model_folder(None);
    std::fs::remove_file(bare.path().join("tokenizer.json")).unwrap();
    let mut server = Server::spawn(router_arguments(bare.path(), &shards, &[]));
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.output().contains("Unable to load tokenizer."), "{}", server.output());
    let folder = model_folder(None);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut server = Server::spawn_at(port, router_arguments(folder.path(), &shards, &[]));
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.output().contains("Failed to bind to "), "{}", server.output());
}

/// The bytes of a stream, unchunked by hand.
#[test]
fn framing_is_byte_for_byte() {
    let rig = Rig::new(&[]);
    let body = json!({"inputs": "hi", "parameters": {"max_new_tokens": 1}}).to_string();
    let mut connection = TcpStream::connect(rig.server.address()).unwrap();
    let head = "POST /generate_stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(connection, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (_, chunks) = answer.split_once("\r\n\r\n").unwrap();
    let (length, data) = chunks.split_once("\r\n").unwrap();
    let data = &data[..usize::from_str_radix(length, 16).unwrap()];
    let event = data.strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n")).unwrap();
    assert!(!event.contains('\n'));
    assert_eq!(serde_json::from_str::<Value>(event).unwrap()["index"], 1);
}
