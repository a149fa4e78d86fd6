//! The launcher's watch over its children, with shell scripts for children.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod supervise {
    mod house;
    mod order;
}
