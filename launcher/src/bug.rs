//! A panic is a bug: whatever thread it is in, the process says so and ends, so that no half of it lives on. The
//! exception is a library that panics on a bad file, where the caller makes an error of it.

use crate::error::BUG;

/// From now on a panic ends the process with exit code 70.
pub fn end_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gristmill_text::contained::is_contained() {
            report(panic);
            end();
        }
    }));
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a panic leaves nothing that could be dropped in order"
)]
fn end() -> ! {
    std::process::exit(i32::from(BUG))
}
