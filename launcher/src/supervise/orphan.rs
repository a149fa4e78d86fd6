//! A child's side of its tie to the launcher: it ends when the launcher does, however that ends.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::set_name;

/// Has the kernel kill this process when its parent, `launcher`, ends.
///
/// # Errors
/// The launcher has already ended, or the kernel refuses.
pub fn die_with(launcher: i32) -> Result<(), String> {
    // The system names a process by the last part of the path it was started from, which is `exe`.
    set_name(c"gristmill").map_err(|error| format!("cannot take a name: {error}"))?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot follow the launcher: {error}"))?;
    // The launcher may have ended before the line above.
    match getppid().map(Pid::as_raw_nonzero) {
        Some(parent) if parent.get() == launcher => Ok(()),
        _ => Err(format!("the launcher, process {launcher}, has ended")),
    }
}
