//! Calls the real program under a name, with an environment of its own.

use std::os::unix::fs::symlink;
use std::process::Command;

/// A call to come.
pub(super) struct Caller {
    name: String,
    environment: Vec<(String, String)>,
}

/// What a call ended with.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A model that is not there, so that a call that passes every check ends at the download.
pub(super) const NO_MODEL: &str = "/nonexistent/model";

impl Caller {
    /// Calls the program by `name`.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), environment: Vec::new() }
    }

    /// Calls the launcher with a model that is not there.
    pub(super) fn launcher() -> Self {
        Self::named("text-generation-launcher").with("MODEL_ID", NO_MODEL)
    }

    /// Sets an environment variable.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Calls the program and waits for its end.
    pub(super) fn call(self, arguments: &[&str]) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(&self.name);
        symlink(env!("CARGO_BIN_EXE_gristmill"), &program).unwrap();
        let output =
            Command::new(program).args(arguments).env_clear().envs(self.environment).output().unwrap();
        Answer {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The launcher takes these arguments and goes on to the download, which fails.
pub(super) fn accepted(arguments: &[&str]) -> Answer {
    let answer = Caller::launcher().call(arguments);
    assert_eq!((answer.code, answer.stderr.as_str()), (1, "Error: DownloadError\n"), "{arguments:?}");
    answer
}

/// The launcher answers these arguments with `error` and exit code 1, before it looks for the model.
pub(super) fn refused(arguments: &str, error: &str) {
    let answer = Caller::launcher().call(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!((answer.code, answer.stderr), (1, format!("Error: {error}\n")), "{arguments}");
    assert!(!answer.stdout.contains("Starting check and download process"), "{arguments}");
}
