//! A child does not outlive a launcher that is killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gristmill_launcher::supervise::orphan::die_with;

/// Runs one of the ignored tests below in a process of its own.
fn start(test: &str, stdout: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env("PARENT", std::process::id().to_string())
        .stdout(stdout)
        .spawn()
        .unwrap()
}

#[test]
fn a_child_ends_with_its_launcher() {
    let mut launcher = start("acts_as_launcher", Stdio::piped());
    let mut output = BufReader::new(launcher.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("child runs") {
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child never ran: {line}");
    }
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    // The child holds the other end of the pipe, so this returns when it has ended.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("child outlived"), "{rest}");
}

#[test]
#[ignore = "only as a child of the test above"]
fn acts_as_launcher() {
    start("acts_as_child", Stdio::inherit()).wait().unwrap();
}

#[test]
#[ignore = "only as a child of the test above"]
#[expect(clippy::disallowed_methods, reason = "how one test process tells another its name")]
fn acts_as_child() {
    die_with(std::env::var("PARENT").unwrap().parse().unwrap()).unwrap();
    println!("child runs");
    std::thread::sleep(Duration::from_secs(20));
    println!("child outlived");
}
