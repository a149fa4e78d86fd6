//! The whole house with a model that computes: it answers, drains, and ends as its parts do.

use std::fs;
use std::process::Command;

use gristmill_integration_tests::demo;
use gristmill_integration_tests::program::program;
use gristmill_integration_tests::server::Server;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// A server with a tiny model, and the folder of its socket.
fn serve() -> (Server, tempfile::TempDir) {
    let socket = tempfile::tempdir().unwrap();
    let model = demo::data("tiny/llama-tied-bf16");
    let prefix = socket.path().join("s");
    let server = Server::start([
        "serve".as_ref(),
        "--model-id".as_ref(),
        model.as_os_str(),
        "--shard-uds-path".as_ref(),
        prefix.as_os_str(),
    ]);
    (server, socket)
}

/// The child of `launcher` that was started as `program`.
fn child(launcher: u32, program: &str) -> Pid {
    let tasks = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
    let found = tasks.split_whitespace().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split('\0').nth(1) == Some(program))
    });
    Pid::from_raw(found.unwrap().parse().unwrap()).unwrap()
}

#[test]
fn a_model_answers_through_launcher_router_and_shard() {
    let (mut server, socket) = serve();
    let ask = json!({"inputs": "one two three", "parameters": {"max_new_tokens": 12, "details": true}});
    let answer = server.client().post("/generate", &ask).json();
    assert_eq!(answer["details"]["generated_tokens"], 12);
    let events = server.client().stream("/generate_stream", &ask).rest();
    let text: String = events.iter().map(|event| event["token"]["text"].as_str().unwrap()).collect();
    assert_eq!((events.len(), text.as_str()), (12, answer["generated_text"].as_str().unwrap()));
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(fs::read_dir(socket.path()).unwrap().count(), 0, "a socket is left behind");
}

#[test]
fn streams_that_run_finish_before_the_end() {
    let (mut server, _socket) = serve();
    let ask = json!({"inputs": "one", "parameters": {"max_new_tokens": 200}});
    let mut stream = server.client().stream("/generate_stream", &ask);
    assert!(stream.next_json().is_some());
    server.terminate();
    let last = stream.rest().pop().unwrap();
    assert!(last["generated_text"].is_string(), "{last}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_dead_part_ends_the_server() {
    for (part, says, variant) in [
        ("shard", "Shard 0 crashed", "Error: ShardFailed"),
        ("router", "Webserver Crashed", "Error: WebserverFailed"),
    ] {
        let (mut server, _socket) = serve();
        kill_process(child(server.pid(), part), Signal::KILL).unwrap();
        assert_eq!(server.wait().code(), Some(1), "{part}");
        let output = server.output();
        assert!(output.contains(says) && output.contains(variant), "{output}");
    }
}

#[test]
fn a_cache_that_does_not_fit_ends_with_three() {
    let socket = tempfile::tempdir().unwrap();
    let ended = Command::new(program())
        .args([
            "serve",
            "--hostname",
            "127.0.0.1",
            "--port",
            "0",
            "--cpu-kv-cache-bytes",
            "99999999999999",
            "--model-id",
        ])
        .args([demo::data("tiny/llama-plain").as_os_str(), "--shard-uds-path".as_ref()])
        .arg(socket.path().join("s"))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(3), "{log}");
    assert!(log.contains("Not enough memory"), "{log}");
}
