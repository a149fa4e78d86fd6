//! Where the program under test is.

use std::path::PathBuf;

/// The program of this build: `GRISTMILL_BIN`, or the one beside the folder of the test's own executable.
#[expect(clippy::disallowed_methods, reason = "tests may be pointed at another build")]
pub fn program() -> PathBuf {
    if let Ok(path) = std::env::var("GRISTMILL_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("gristmill");
    assert!(path.is_file(), "{} is not built: cargo build -p gristmill-launcher", path.display());
    path
}
