//! Who may come in: one slot for each generation in the house.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of the house. Nobody waits for one: who finds none is turned away.
#[derive(Clone, Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    limit: usize,
}

/// The right to be in the house. Dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// A house with room for `limit` generations at once.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(limit)), limit }
    }

    /// A slot, if one is free.
    pub fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// `count` slots, or none at all.
    pub fn take_many(&self, count: usize) -> Option<Vec<Slot>> {
        (0..count).map(|_| self.take()).collect()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.slots.available_permits() == self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_is_free_again() {
        let admission = Admission::new(1);
        let slot = admission.take().unwrap();
        assert!(admission.take().is_none() && !admission.is_empty());
        drop(slot);
        assert!(admission.is_empty() && admission.take().is_some());
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let admission = Admission::new(3);
        assert!(admission.take_many(4).is_none());
        let three = admission.take_many(3).unwrap();
        assert!(admission.take().is_none());
        drop(three);
        assert_eq!(admission.take_many(3).unwrap().len(), 3);
    }
}
