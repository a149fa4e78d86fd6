//! Python's methods of strings, lists and dicts, and its two ways to fill in a text.
//!
//! Some of them can make a text far longer than what they are given, and the engine charges for it only
//! afterwards. For those the price is checked before.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Error, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::budget;

/// Calls `method` of `value`.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), method, args) {
        (Some(_), "replace", args) => {
            let args: Vec<Value> = [value].into_iter().chain(args).cloned().collect();
            state.apply_filter("replace", &args)
        }
        (Some(_), "join", [list]) => state.apply_filter("join", &[list.clone(), value.clone()]),
        (Some(text), "format", args) => {
            check_format(state, text, '{', args)?;
            unknown_method_callback(state, value, method, args)
        }
        _ => unknown_method_callback(state, value, method, args),
    }
}

/// The filter `format`: Python's `%`.
pub(super) fn format(state: &mut State, text: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = args.0.clone().into_iter().map(Value::from).collect::<Vec<_>>();
    check_format(state, text.as_str().unwrap_or_default(), '%', &values)?;
    filters::format(state, text, args)
}

/// Checks the longest text that can come of it: every field takes the longest value, every number is a width.
fn check_format(state: &State, text: &str, field: char, args: &[Value]) -> Result<(), Error> {
    let fields = text.matches(field).count();
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    let mut longest = 0;
    for arg in args {
        let len = match arg.as_str() {
            Some(text) => text.len(),
            None => budget::show(state, arg)?.len(),
        };
        longest = longest.max(len);
    }
    budget::check_copied(
        state,
        text.len().saturating_add(widths).saturating_add(fields.saturating_mul(longest)),
    )
}
