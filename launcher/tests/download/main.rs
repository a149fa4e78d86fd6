//! GGUF files become model folders; whatever `--model-id` names becomes one folder or a clear error.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod conversion;
mod refusal;
mod source;
mod tiny;
mod tokenizer;
#[path = "../../../model/tests/gguf/writer.rs"]
mod writer;
