//! The demo model, as a folder, and what transformers recorded of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A recorded file.
pub fn data(name: &str) -> PathBuf {
    root().join("integration-tests/data").join(name)
}

/// A recorded file read as JSON.
pub fn json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(data(name)).unwrap()).unwrap()
}

/// The demo model's GGUF file, fetched if this machine has not got it yet.
#[expect(clippy::disallowed_methods, reason = "`make test` says where it put the file")]
pub fn gguf() -> PathBuf {
    if let Ok(path) = std::env::var("GRISTMILL_DEMO_MODEL") {
        return path.into();
    }
    let fetched = Command::new(root().join("tools/demo-model.sh")).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    String::from_utf8(fetched.stdout).unwrap().trim_end().into()
}

/// The demo model's folder, made once by this version of the converter in each test program.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, folder) = FOLDER.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("model");
        gristmill_launcher::download::gguf_to_folder(&gguf(), &folder).unwrap();
        (home, folder)
    });
    folder
}

/// A recorded prompt.
#[derive(serde::Deserialize)]
pub struct Prompt {
    /// Its text.
    pub text: String,
    /// Its token ids.
    pub ids: Vec<u32>,
}

/// The 40 recorded prompts.
pub fn prompts() -> Vec<Prompt> {
    json("smollm2/prompts.json")
}
