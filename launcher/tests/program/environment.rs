//! The environment: names, precedence, strictness.

use gristmill_launcher::flags::{Program, table};

use super::caller::{Caller, accepted};

#[test]
fn every_flag_but_env_has_its_variable() {
    let help = Caller::launcher().call(&["--help"]).stdout.replace(char::is_whitespace, "");
    for flag in table::of(Program::Serve).filter(|flag| flag.name != "env") {
        let variable = flag.name.replace('-', "_").to_uppercase();
        let shown = [format!("[env:{variable}="), format!("[env:{variable}]")];
        assert!(shown.iter().any(|shown| help.contains(shown)), "{variable}");
    }
    assert!(!help.contains("[env:ENV"));
}

#[test]
fn the_command_line_beats_the_environment_and_that_the_default() {
    assert!(accepted(&[]).stdout.contains(" port: 3000,"));
    let by_environment = Caller::launcher().with("PORT", "4000").call(&[]);
    assert!(by_environment.stdout.contains(" port: 4000,"));
    let by_line = Caller::launcher().with("PORT", "4000").call(&["-p", "5000"]);
    assert!(by_line.stdout.contains(" port: 5000,"));
}

#[test]
fn switches_in_the_environment_are_strictly_true_or_false() {
    for (value, code, shown) in [
        ("true", 1, "disable_grammar_support: true"),
        ("false", 1, "disable_grammar_support: false"),
        ("1", 2, ""),
        ("yes", 2, ""),
        ("True", 2, ""),
        ("", 2, ""),
    ] {
        let answer = Caller::launcher().with("DISABLE_GRAMMAR_SUPPORT", value).call(&[]);
        assert_eq!(answer.code, code, "{value}: {}", answer.stderr);
        assert!(answer.stdout.contains(shown), "{value}: {}", answer.stdout);
    }
}

#[test]
fn a_bad_number_in_the_environment_is_a_parse_error() {
    for (name, value) in
        [("PORT", "http"), ("NUM_SHARD", "two"), ("WAITING_SERVED_RATIO", "x"), ("SHARDED", "1")]
    {
        let answer = Caller::launcher().with(name, value).call(&[]);
        assert_eq!(answer.code, 2, "{name}: {}", answer.stderr);
    }
}

#[test]
fn what_a_later_version_brings_is_refused_from_the_environment_too() {
    for (name, value, flag) in [("QUANTIZE", "awq", "--quantize awq"), ("NUM_SHARD", "2", "--num-shard 2")] {
        let answer = Caller::launcher().with(name, value).call(&[]);
        let text = format!("Error: NotYet(\"{flag} is not yet supported by this version\")\n");
        assert_eq!((answer.code, answer.stderr), (1, text));
    }
    let off = Caller::launcher().with("TRUST_REMOTE_CODE", "false").call(&[]);
    assert!(!off.stdout.contains("has no effect"), "{}", off.stdout);
}

#[test]
fn the_server_reads_no_flag_from_the_environment() {
    let server = Caller::named("text-generation-server").with("QUANTIZE", "awq").with("JSON_OUTPUT", "1");
    let answer = server.call(&["download-weights", "/nonexistent/model"]);
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("/nonexistent/model"), "{}", answer.stderr);
}

#[test]
fn log_level_filters_and_json_output_is_json() {
    let quiet = Caller::launcher().with("LOG_LEVEL", "warn").call(&[]).stdout;
    assert!(quiet.contains("Download encountered an error") && !quiet.contains("Args"), "{quiet}");
    let json = Caller::launcher().with("JSON_OUTPUT", "true").call(&[]).stdout;
    assert!(!json.is_empty());
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let caller = || Caller::launcher().with("API_KEY", "hush-hush");
    let log = caller().call(&["--ngrok-authtoken=whisper"]).stdout;
    assert!(!log.contains("hush-hush") && !log.contains("whisper"), "{log}");
    let help = caller().call(&["--help"]).stdout;
    assert!(!help.contains("hush-hush"), "{help}");
}

#[test]
fn a_child_without_its_launcher_does_not_start() {
    for line in [&["text-generation-router"][..], &["text-generation-server", "serve", "model"]] {
        let answer = Caller::named(line[0]).with("GRISTMILL_LAUNCHER_PID", "2").call(&line[1..]);
        assert_eq!(answer.code, 1, "{line:?}");
        assert_eq!(answer.stderr, "Error: the launcher, process 2, has ended\n", "{line:?}");
    }
}

#[test]
fn env_shows_the_build_and_goes_on() {
    let answer = accepted(&["--env"]);
    for line in
        ["Runtime environment:", "Target: ", "Commit sha: ", "Docker label: ", "nvidia-smi:", "hl-smi:"]
    {
        assert!(answer.stdout.contains(line), "{line}: {}", answer.stdout);
    }
}
