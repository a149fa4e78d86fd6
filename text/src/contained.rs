//! Panics of libraries that read files from outside: an error here, where any other panic is a bug of this program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread, now, becomes an error. A panic hook that ends the process asks this first.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Runs `work`; `None` when it panicked.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::{contain, is_contained};

    #[test]
    fn only_the_inside_is_contained() {
        assert_eq!(contain(|| is_contained() && contain(is_contained) == Some(true)), Some(true));
        assert_eq!(contain(|| assert!(!is_contained())), None);
        assert!(!is_contained());
    }
}
