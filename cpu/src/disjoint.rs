//! One slice written by several jobs at once, each job its own parts.

use std::marker::PhantomData;
use std::ops::Range;

/// A borrowed slice whose parts are handed out for writing without a lock.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose parts go to different threads.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above; `part` is unsafe and asks that parts do not overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrowed: PhantomData }
    }

    /// The values of `range`, which must be in bounds.
    ///
    /// # Safety
    /// No two parts that overlap are alive at the same time.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller keeps parts apart")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part lies outside its slice");
        // SAFETY: in bounds of a slice borrowed for 'a, and by contract the only reference to these values.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
