//! A small pool of threads for parallel loops of a few microseconds.
//!
//! One word holds the state: the number of the loop in its upper half, whether it is open, and how many workers are
//! in it. The calling thread opens a loop, takes part in it, closes it and waits for the workers inside. A worker
//! that was asleep and comes late finds the loop closed and is not waited for. Indices are handed out one by one by a
//! counter, so who computes what is left to chance and must not matter. Idle workers spin for some microseconds,
//! as the next loop mostly follows at once, and then park.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use gristmill_model::device::DeviceError;

use crate::disjoint::Disjoint;

/// Rounds an idle worker spins before it parks, about 20 to 50 microseconds.
const SPINS: u32 = 1000;
/// Loop is open to workers.
const OPEN: u64 = 1 << 31;
/// The pool ends.
const STOP: u64 = 1 << 30;
/// Bits that count the workers inside.
const INSIDE: u64 = STOP - 1;
/// One loop further.
const NEXT_LOOP: u64 = 1 << 32;

/// Threads that run loops for one caller at a time.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Held by the caller whose loop it is.
    busy: Mutex<()>,
}

struct Worker {
    handle: JoinHandle<()>,
    asleep: Arc<AtomicBool>,
}

struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    body: UnsafeCell<Body>,
    panic: Mutex<Option<String>>,
}

/// The loop's body and the number of its indices.
#[derive(Clone, Copy)]
struct Body {
    call: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: `body` is written while no worker is inside and the loop is closed, and read by workers inside only; the
// body it points to is `Sync` and outlives the loop, because `run` waits until no worker is inside.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads`, the caller of a loop counted.
    pub(crate) fn new(threads: usize) -> Result<Self, DeviceError> {
        let idle = Body { call: &|_| {}, count: 0 };
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            body: UnsafeCell::new(idle),
            panic: Mutex::new(None),
        });
        let mut pool = Self { shared, workers: Vec::new(), busy: Mutex::new(()) };
        for index in 1..threads {
            pool.workers.push(spawn(index, &pool.shared)?);
        }
        Ok(pool)
    }

    /// Threads that take part, the caller counted.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body` once with each index below `count`, in any order, on any thread.
    ///
    /// # Errors
    /// A call panicked; the other calls may or may not have run.
    pub(crate) fn run(&self, count: usize, body: &(dyn Fn(usize) + Sync)) -> Result<(), DeviceError> {
        let caller = match count {
            0 | 1 => None,
            _ => self.busy.try_lock().ok().filter(|_| !self.workers.is_empty()),
        };
        if caller.is_none() {
            let outcome = catch_unwind(AssertUnwindSafe(|| (0..count).for_each(body)));
            return outcome.map_err(|panic| DeviceError::Lost(message(&*panic)));
        }
        // SAFETY: only the lifetime is changed; workers use it inside the loop only, which ends below.
        let call = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(
                body,
            )
        };
        self.shared.open(Body { call, count });
        self.wake(count - 1);
        self.shared.take_part(Body { call, count });
        self.shared.close();
        match self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(message) => Err(DeviceError::Lost(message)),
            None => Ok(()),
        }
    }

    /// Calls `body` once with each piece of at most `size` values and its index.
    pub(crate) fn chunks<T: Send>(
        &self,
        slice: &mut [T],
        size: usize,
        body: impl Fn(usize, &mut [T]) + Sync,
    ) -> Result<(), DeviceError> {
        let (len, count) = (slice.len(), slice.len().div_ceil(size));
        let slice = Disjoint::new(slice);
        self.run(count, &|index| {
            let range = index * size..((index + 1) * size).min(len);
            // SAFETY: pieces of different indices do not overlap, and each index is handed out once.
            body(index, unsafe { slice.part(range) });
        })
    }

    fn wake(&self, wanted: usize) {
        for worker in self.workers.iter().take(wanted) {
            if worker.asleep.swap(false, Ordering::SeqCst) {
                worker.handle.thread().unpark();
            }
        }
    }
}

fn spawn(index: usize, shared: &Arc<Shared>) -> Result<Worker, DeviceError> {
    let asleep = Arc::new(AtomicBool::new(false));
    let (shared, sleeper) = (Arc::clone(shared), Arc::clone(&asleep));
    let handle = thread::Builder::new()
        .name(format!("cpu-{index}"))
        .spawn(move || shared.work(&sleeper))
        .map_err(|e| DeviceError::Lost(format!("cannot start thread cpu-{index}: {e}")))?;
    Ok(Worker { handle, asleep })
}

impl Shared {
    fn open(&self, body: Body) {
        // SAFETY: the loop is closed and nobody is inside, so nobody reads.
        unsafe { *self.body.get() = body };
        self.next.store(0, Ordering::Relaxed);
        let last = self.state.load(Ordering::Relaxed);
        self.state.store((last & !INSIDE).wrapping_add(NEXT_LOOP) | OPEN, Ordering::SeqCst);
    }

    /// Closes the loop and waits for the workers inside.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut spins = 0u32;
        while state & INSIDE != 0 {
            spins += 1;
            if spins.is_multiple_of(SPINS) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    /// Runs indices until none is left.
    fn take_part(&self, body: Body) {
        // SAFETY: the caller of the loop waits for everyone inside before the body goes away.
        let call = unsafe { &*body.call };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= body.count {
                    return;
                }
                call(index);
            }
        }));
        if let Err(panic) = outcome {
            self.next.store(body.count, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(message(&*panic));
        }
    }

    fn work(&self, asleep: &AtomicBool) {
        let mut done = 0;
        loop {
            let state = self.next_loop(done, asleep);
            if state & STOP != 0 {
                return;
            }
            if self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            done = state / NEXT_LOOP;
            // SAFETY: this worker is inside an open loop, so nobody writes.
            self.take_part(unsafe { *self.body.get() });
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open loop other than `done`, or the end.
    fn next_loop(&self, done: u64, asleep: &AtomicBool) -> u64 {
        let ready = |state: u64| state & STOP != 0 || (state & OPEN != 0 && state / NEXT_LOOP != done);
        loop {
            for _ in 0..SPINS {
                let state = self.state.load(Ordering::Relaxed);
                if ready(state) {
                    return state;
                }
                std::hint::spin_loop();
            }
            // Who opens a loop changes the state and then looks for sleepers; here it is the other way round, so
            // one of the two sees the other.
            asleep.store(true, Ordering::SeqCst);
            if !ready(self.state.load(Ordering::SeqCst)) {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.fetch_or(STOP, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.handle.thread().unpark();
            // A worker catches the panics of its loops, so there is nothing to hear from it.
            let _ = worker.handle.join();
        }
    }
}

/// The text a panic carries.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a thread panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_runs_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads).unwrap();
            for count in [0, 1, 2, 7, 1000] {
                let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                pool.run(count, &|index| {
                    calls[index].fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1), "{threads} {count}");
            }
        }
    }

    #[test]
    fn many_short_loops_see_each_others_writes() {
        let pool = Pool::new(4).unwrap();
        let mut values = vec![0u64; 64];
        for _ in 0..20_000 {
            pool.chunks(&mut values, 1, |_, chunk| chunk[0] += 1).unwrap();
        }
        assert_eq!(values, vec![20_000; 64]);
    }

    #[test]
    fn workers_that_went_to_sleep_come_back() {
        let pool = Pool::new(3).unwrap();
        for _ in 0..5 {
            while pool.workers.iter().any(|worker| !worker.asleep.load(Ordering::SeqCst)) {
                thread::yield_now();
            }
            // Each index waits for the others, so all three threads must take part.
            let barrier = std::sync::Barrier::new(3);
            pool.run(3, &|_| {
                barrier.wait();
            })
            .unwrap();
        }
    }

    #[test]
    fn chunks_cover_the_slice() {
        let pool = Pool::new(2).unwrap();
        let mut values = vec![0; 10];
        pool.chunks(&mut values, 4, |index, chunk| chunk.fill(index + 1)).unwrap();
        assert_eq!(values, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_lives_on() {
        for threads in [1, 3] {
            let pool = Pool::new(threads).unwrap();
            let error = pool.run(100, &|index| assert!(index != 50, "index fifty")).unwrap_err();
            assert_eq!(error.to_string(), "device lost: a thread panicked: index fifty");
            pool.run(100, &|_| {}).unwrap();
        }
    }

    #[test]
    fn a_loop_inside_a_loop_runs_in_place() {
        let pool = Pool::new(2).unwrap();
        let calls = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(4, &|_| {
                calls.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        })
        .unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 16);
    }
}
