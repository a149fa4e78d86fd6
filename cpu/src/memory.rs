//! Large zeroed arrays straight from the kernel: a page costs nothing until it is touched, and a request that
//! cannot be met is an error instead of an abort.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use gristmill_model::device::DeviceError;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::element::Element;

/// Which pages an array is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Small ones, for arrays that may stay untouched for the most part.
    Small,
    /// Large ones where the system has them, for arrays that are read whole.
    Large,
}

/// An array of zeros, aligned to a page.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    start: NonNull<T>,
    len: usize,
    owned: PhantomData<T>,
}

// SAFETY: a mapping belongs to its owner alone, as the allocation of a `Vec` does.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: shared references give shared slices only.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T: Element> Memory<T> {
    /// `len` zeros for `what`.
    pub(crate) fn zeroed(len: usize, pages: Pages, what: &'static str) -> Result<Self, DeviceError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let start = match bytes {
            0 => NonNull::dangling(),
            _ => map(bytes, pages).ok_or(DeviceError::Memory { what, bytes })?.cast(),
        };
        Ok(Self { start, len, owned: PhantomData })
    }
}

fn map(bytes: usize, pages: Pages) -> Option<NonNull<u8>> {
    if bytes > isize::MAX as usize {
        return None;
    }
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a fresh private mapping overlaps nothing.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, flags) }.ok()?;
    if pages == Pages::Large {
        // SAFETY: the range was mapped above; the advice changes no contents. Refusing it is no harm.
        let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
    }
    NonNull::new(start.cast())
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes > 0 {
            // SAFETY: exactly what `map` gave, and no slice of it outlives `self`.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
        }
    }
}

impl<T: Element> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were mapped and zeroed, and every bit pattern is an `Element`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes it the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_and_writable() {
        let mut memory = Memory::<f32>::zeroed(1 << 20, Pages::Large, "test").unwrap();
        assert!(memory.iter().all(|&value| value == 0.0));
        memory[77] = 1.5;
        assert_eq!(memory[77], 1.5);
        assert_eq!(Memory::<f32>::zeroed(0, Pages::Small, "test").unwrap().len(), 0);
    }

    #[test]
    fn too_much_is_an_error() {
        let error = Memory::<f32>::zeroed(1 << 58, Pages::Small, "KV cache").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot allocate {} bytes for the KV cache", 1u64 << 60));
    }
}
