//! What kernels run on: the threads, and the instruction set they use.

use gristmill_model::device::DeviceError;

use crate::pool::Pool;
use crate::simd::Isa;

/// Threads and their instruction set.
pub(crate) struct Cores {
    pub(crate) pool: Pool,
    pub(crate) isa: Isa,
}

impl Cores {
    /// `threads` of this machine.
    pub(crate) fn new(isa: Isa, threads: usize) -> Result<Self, DeviceError> {
        Ok(Self { pool: Pool::new(threads)?, isa })
    }
}
