//! What a rendering may still make, where the engine itself would look only afterwards.

use std::fmt::{self, Write};

use minijinja::{Error, ErrorKind, State, Value};

/// Bytes of text made of texts that one unit of fuel pays for, as the engine has it.
const COPIED_PER_FUEL: u64 = 64;

/// Bytes of text made of other values, likewise: this is slower.
const WRITTEN_PER_FUEL: u64 = 4;

/// Fails if `bytes` of text made of texts cannot be paid for. The engine takes the pay.
pub(super) fn check_copied(state: &State, bytes: usize) -> Result<(), Error> {
    if bytes > left(state, COPIED_PER_FUEL) { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

/// Fails if `bytes` of text made of other values cannot be paid for.
pub(super) fn check_written(state: &State, bytes: usize) -> Result<(), Error> {
    if bytes > left(state, WRITTEN_PER_FUEL) { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

/// Pays for `bytes` of text made of other values.
pub(super) fn spend_written(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / WRITTEN_PER_FUEL)
}

/// The text of a value, unless it is longer than can be paid for: a list that holds another one twice, and so
/// on, is small itself.
pub(super) fn show(state: &State, value: &Value) -> Result<String, Error> {
    let mut text = Bounded { text: String::new(), left: left(state, WRITTEN_PER_FUEL) };
    write!(text, "{value}").map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
    spend_written(state, text.text.len())?;
    Ok(text.text)
}

fn left(state: &State, bytes_per_fuel: u64) -> usize {
    let fuel = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    usize::try_from(fuel.saturating_mul(bytes_per_fuel)).unwrap_or(usize::MAX)
}

struct Bounded {
    text: String,
    left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.text.push_str(text);
        Ok(())
    }
}
