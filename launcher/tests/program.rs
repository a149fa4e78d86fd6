//! The real program, called from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program {
    mod broken_model;
    mod caller;
    mod command_line;
    mod environment;
}
