//! A model folder that the shard cannot read.

use super::caller::Caller;

#[test]
fn the_server_ends_with_the_shard_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": \"llama\"").unwrap();
    let socket = folder.path().join("socket").display().to_string();
    let model = folder.path().display().to_string();
    let arguments = ["--model-id", &model, "--shard-uds-path", &socket];
    let answer = Caller::named("text-generation-launcher").call(&arguments);
    assert_eq!((answer.code, answer.stderr.as_str()), (1, "Error: ShardCannotStart\n"), "{}", answer.stdout);
    for text in ["Shard complete standard error output:\nError: ", "config.json", "Shard 0 failed to start"] {
        assert!(answer.stdout.contains(text), "{text}: {}", answer.stdout);
    }
    assert!(!answer.stdout.contains("Starting Webserver"), "{}", answer.stdout);
}

#[test]
fn the_shard_alone_says_it_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "[]").unwrap();
    let socket = folder.path().join("socket").display().to_string();
    let model = folder.path().display().to_string();
    let server = Caller::named("text-generation-server");
    let answer = server.call(&["serve", &model, "--uds-path", &socket, "--json-output"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.starts_with("Error: ") && answer.stderr.contains("config.json"),
        "{}",
        answer.stderr
    );
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
}
