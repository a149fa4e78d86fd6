//! Random numbers: seeds for requests that name none, and ids. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A random number. The standard library keys each hasher anew from the system's random source.
pub fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn numbers_differ() {
        let numbers: HashSet<u64> = (0..1000).map(|_| super::random()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
