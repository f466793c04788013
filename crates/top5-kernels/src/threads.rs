//! A fork-join pool: the caller and the workers, which spin briefly for the next call and then sleep, share out the jobs.
//!
//! Each thread begins with a part of the jobs that depends on its number alone, and then takes what is left of the others'.
//! Calls that go through the same images in the same order so find in the cache of a thread what it wrote there before:
//! lines that another one wrote come late.
//!
//! A call opens a *gate*, works, closes the gate when no job is left and waits for the workers that had entered. A
//! worker that the system did not schedule in time is simply not waited for, so an oversubscribed machine loses little.
//!
//! Threads that wait for each other on one core take turns of whole time slices, so there are no more of them than cores
//! that the process may use, unless a caller insists.

use crate::block::{Block, Layout};
use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};

/// Turns of the waiting loop before a worker sleeps: some tens of microseconds.
const SPINS: usize = 4000;
/// Bytes of a worker's stack, as much as the main thread usually has: kernels that a program builds without optimisation keep
/// every vector there, several megabytes. So much a caller may not have, and its share then runs on a thread beside it.
const STACK: usize = 8 << 20;

/// The name of the threads.
const NAME: &str = "top5";

/// The gate's lowest bit: workers may enter.
const OPEN: usize = 1;
/// The gate's next bits: how many workers are inside.
const WORKER: usize = 2;
const WORKERS: usize = (1 << 16) - WORKER;
/// The gate's remaining bits number the calls.
const CALL: usize = 1 << 16;

/// Called with the number of the thread and that of the job.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Shared {
    gate: AtomicUsize,
    /// The job of the current call. Written only while the gate is closed and nobody is inside; read only from inside.
    job: UnsafeCell<Option<&'static Job<'static>>>,
    /// Its jobs, a range for each thread.
    ranges: Box<[Jobs]>,
    /// What the first job that panicked on a worker threw in the current call.
    panic: Mutex<Option<Panic>>,
    stop: AtomicBool,
}

/// What a job threw.
type Panic = Box<dyn Any + Send>;

// SAFETY: `job` is the only field that is not Sync by itself; the gate orders its accesses as written there.
unsafe impl Sync for Shared {}

/// Some consecutive jobs of the current call, on a cache line of their own.
#[repr(align(128))]
#[derive(Default)]
struct Jobs {
    next: AtomicUsize,
    end: AtomicUsize,
}

struct Worker {
    asleep: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// A pool of threads. Results of a call never depend on their number: the caller decides how work is split.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    calls: Mutex<()>,
}

impl Threads {
    /// A pool of this many threads, the calling one included, or of as many as there are cores that the process may use
    /// (by its affinity and control group), or as the system can start: more would be slower. At least 1.
    pub fn new(threads: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::oversubscribed(threads.min(cores))
    }

    /// A pool of this many threads (at least 1, at most 1024), however few cores there are, or of as many as the system
    /// can start. To test that results do not depend on their number.
    pub fn oversubscribed(threads: usize) -> Self {
        let threads = threads.clamp(1, 1024);
        let shared = Arc::new(Shared {
            gate: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            ranges: (0..threads).map(|_| Jobs::default()).collect(),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads).map_while(|i| Worker::start(&shared, i).ok()).collect();
        Self { shared, workers, calls: Mutex::new(()) }
    }

    /// The number of threads, the calling one included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(0)` … `job(jobs − 1)`, each once, in any order and on any thread, and returns when all are done.
    /// A call from within a job runs on the calling thread alone.
    ///
    /// # Panics
    /// As the first job that panics does, after the others have ended or been given up.
    pub fn run(&self, jobs: usize, job: impl Fn(usize) + Sync) {
        self.run_numbered(jobs, |_, i| job(i));
    }

    /// As [`Threads::run`], with a piece of `len` blocks of `scratch` that is the job's own while it runs. What it finds
    /// there is unspecified.
    ///
    /// # Panics
    /// If `scratch` has less than `len` blocks for each thread.
    pub fn run_with_scratch(
        &self,
        jobs: usize,
        scratch: &mut [Block],
        len: usize,
        job: impl Fn(usize, &mut [Block]) + Sync,
    ) {
        let needed = self.count().checked_mul(len);
        assert!(
            needed.is_some_and(|needed| scratch.len() >= needed),
            "a piece of scratch memory for each thread"
        );
        let base = SharedMut(scratch.as_mut_ptr());
        self.run_numbered(jobs, |thread, i| {
            // SAFETY: thread numbers are below `count` and no two threads of a call have the same, so the pieces are
            // within `scratch` (asserted above) and apart; a thread runs one job after the other.
            let piece =
                unsafe { std::slice::from_raw_parts_mut(base.pointer().add(thread * len), len) };
            job(i, piece);
        });
    }

    /// Calls `job` with the number of the thread, 0 for the calling one, and that of the job.
    fn run_numbered(&self, jobs: usize, job: impl Fn(usize, usize) + Sync) {
        // A job that panicked leaves nothing half-done behind the lock.
        let lock = || match self.calls.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let guard = if jobs > 1 && !self.workers.is_empty() { lock() } else { None };
        let Some(_guard) = guard else {
            return on_a_large_stack(&|| (0..jobs).for_each(|i| job(0, i)));
        };
        let shared = &*self.shared;
        let job: &Job<'_> = &job;
        // SAFETY: only the lifetime changes. Workers read the reference only between entering and leaving the gate, and
        // this function does not return before the gate is closed and everyone has left (`close` below), which also
        // holds when a job panics here.
        let erased = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        // SAFETY: the gate is closed and nobody is inside: that was the state when the previous call returned, and
        // `_guard` excludes other calls.
        unsafe { *shared.job.get() = Some(erased) };
        let count = self.count();
        for (i, range) in shared.ranges.iter().enumerate().take(count) {
            let own = share(jobs, count, i);
            range.next.store(own.start, Relaxed);
            range.end.store(own.end, Relaxed);
        }
        let call = (shared.gate.load(Relaxed) & !(CALL - 1)).wrapping_add(CALL);
        shared.gate.store(call | OPEN, SeqCst);
        for worker in &self.workers {
            if worker.asleep.swap(false, SeqCst) {
                worker.handle.thread().unpark();
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| on_a_large_stack(&|| shared.work(0, job))));
        if outcome.is_err() {
            shared.ranges.iter().for_each(|range| range.next.store(jobs, Relaxed));
        }
        shared.close();
        let elsewhere = shared.panic().take();
        match (outcome, elsewhere) {
            (Ok(()), None) => {}
            (Ok(()), Some(panic)) | (Err(panic), None) => resume_unwind(panic),
            (Err(panic), Some(other)) => {
                discard(other);
                resume_unwind(panic)
            }
        }
    }

    /// Splits `items` into pieces of `len` (the last may be shorter) and calls `job(i, piece i)` for each.
    pub fn chunks<P: Copy + Send>(
        &self,
        items: &mut [P],
        len: usize,
        job: impl Fn(usize, &mut [P]) + Sync,
    ) {
        let total = items.len();
        let base = SharedMut(items.as_mut_ptr());
        self.run(total.div_ceil(len.max(1)), |i| {
            let start = i * len.max(1);
            let piece = len.max(1).min(total - start);
            // SAFETY: pieces of different i do not overlap and end at `total`; each i is run once, and `items` stays
            // exclusively borrowed until all are done.
            job(i, unsafe { std::slice::from_raw_parts_mut(base.pointer().add(start), piece) });
        });
    }

    /// Calls `job(i, plane i)` for every plane of `n` images in `items`, several to a job.
    ///
    /// # Panics
    /// If the items are too few.
    pub fn planes<P: Copy + Send>(
        &self,
        (items, layout): (&mut [P], &Layout),
        n: usize,
        per_job: usize,
        job: impl Fn(usize, &mut [P]) + Sync,
    ) {
        assert!(layout.fits(n, items.len()), "the planes are not within the items");
        let (planes, per_job) = (n * layout.blocks(), per_job.max(1));
        let base = SharedMut(items.as_mut_ptr());
        self.run(planes.div_ceil(per_job), |i| {
            for plane in i * per_job..((i + 1) * per_job).min(planes) {
                let Range { start, end } = layout.plane_at(plane);
                // SAFETY: `end` is at most the `len` of n images, which is within `items` without an overflow (asserted
                // above); different planes do not overlap; each i is run once, and `items` stays exclusively borrowed
                // until all are done.
                job(plane, unsafe {
                    std::slice::from_raw_parts_mut(base.pointer().add(start), end - start)
                });
            }
        });
    }

    /// Splits `a` into pieces of `a_len` and `b` into as many pieces of `b_len` (the last ones may be shorter) and calls
    /// `job(i, piece i of a, piece i of b)` for each.
    ///
    /// # Panics
    /// If the numbers of pieces differ.
    pub fn chunk_pairs(
        &self,
        (a, a_len): (&mut [Block], usize),
        (b, b_len): (&mut [Block], usize),
        job: impl Fn(usize, &mut [Block], &mut [Block]) + Sync,
    ) {
        let (total, len) = (b.len(), b_len.max(1));
        assert_eq!(a.len().div_ceil(a_len.max(1)), total.div_ceil(len), "pieces of both slices");
        let base = SharedMut(b.as_mut_ptr());
        self.chunks(a, a_len, |i, a| {
            let start = i * len;
            // SAFETY: i is below the number of pieces (those of `a` are as many, asserted above), so `start` is within `b`;
            // pieces of different i do not overlap and end at `total`; each i is run once, and `b` stays exclusively
            // borrowed until all are done.
            let b = unsafe {
                std::slice::from_raw_parts_mut(base.pointer().add(start), len.min(total - start))
            };
            job(i, a, b);
        });
    }
}

/// The `i`-th of so many parts of `total`, of almost the same size. Their number is not zero.
pub(crate) fn share(total: usize, parts: usize, i: usize) -> Range<usize> {
    // At most `total`, although the product may be larger than a usize.
    let start = |i: usize| (i as u128 * total as u128 / parts as u128) as usize;
    start(i)..start(i + 1)
}

/// Runs the caller's share of the work: on its own stack, unless the build is not optimised.
fn on_a_large_stack(work: &(dyn Fn() + Sync)) {
    if !cfg!(unoptimised) || thread::current().name() == Some(NAME) {
        return work();
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(NAME.into()).stack_size(STACK);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    });
}

/// Drops what was thrown. What that throws in turn is kept for ever: it might never end.
fn discard(panic: Panic) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(another);
    }
}

/// A pointer that jobs may share: each writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T = Block>(pub(crate) *mut T);

// SAFETY: a SharedMut is only a number; whoever dereferences it proves that parts do not overlap.
unsafe impl<T> Sync for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T> Send for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// The pointer. A method, so that closures capture the whole value.
    #[inline(always)]
    pub(crate) fn pointer(self) -> *mut T {
        self.0
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.handle.thread().unpark();
            // A worker cannot panic: jobs are caught.
            let _ = worker.handle.join();
        }
    }
}

impl Shared {
    /// What was thrown on a worker. Nobody panics with the lock.
    fn panic(&self) -> MutexGuard<'_, Option<Panic>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was thrown on a worker if it is the first in this call, and else gives it back.
    fn keep(&self, panic: Panic) -> Option<Panic> {
        let mut first = self.panic();
        if first.is_some() {
            return Some(panic);
        }
        *first = Some(panic);
        None
    }

    fn work(&self, thread: usize, job: &Job<'_>) {
        let (others, own) = self.ranges.split_at(thread);
        for range in own.iter().chain(others) {
            let end = range.end.load(Relaxed);
            loop {
                let i = range.next.fetch_add(1, Relaxed);
                if i >= end {
                    break;
                }
                job(thread, i);
            }
        }
    }

    /// Lets nobody in any more and waits until everyone has left.
    fn close(&self) {
        let mut gate = self.gate.fetch_and(!OPEN, AcqRel) & !OPEN;
        let mut turns = 0;
        while gate & WORKERS != 0 {
            turns += 1;
            if turns < SPINS {
                std::hint::spin_loop()
            } else {
                thread::yield_now()
            }
            gate = self.gate.load(Acquire);
        }
    }

    /// Enters the gate if it is open and its call is not `last`; returns the call.
    fn enter(&self, last: usize) -> Option<usize> {
        let mut gate = self.gate.load(Acquire);
        loop {
            let call = gate & !(CALL - 1);
            if gate & OPEN == 0 || call == last {
                return None;
            }
            match self.gate.compare_exchange_weak(gate, gate + WORKER, AcqRel, Acquire) {
                Ok(_) => return Some(call),
                Err(now) => gate = now,
            }
        }
    }
}

impl Worker {
    fn start(shared: &Arc<Shared>, number: usize) -> std::io::Result<Self> {
        let asleep = Arc::new(AtomicBool::new(false));
        let (shared, flag) = (shared.clone(), asleep.clone());
        let builder = thread::Builder::new().name(NAME.into()).stack_size(STACK);
        let handle = builder.spawn(move || serve(&shared, number, &flag))?;
        Ok(Self { asleep, handle })
    }
}

/// What a worker does until the pool stops.
fn serve(shared: &Shared, number: usize, asleep: &AtomicBool) {
    let mut last = 0;
    let mut turns = 0;
    while !shared.stop.load(Relaxed) {
        if let Some(call) = shared.enter(last) {
            last = call;
            turns = 0;
            // SAFETY: we are inside the gate, so the job is the current call's and stays until we leave.
            let job = unsafe { *shared.job.get() };
            let work = || job.into_iter().for_each(|job| shared.work(number, job));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                // Not dropped here: that might panic, and nobody would leave the gate.
                if let Some(later) = shared.keep(panic) {
                    discard(later);
                }
            }
            shared.gate.fetch_sub(WORKER, Release);
        } else if turns < SPINS {
            turns += 1;
            std::hint::spin_loop();
        } else {
            // Announce the sleep, then look once more: a call that comes after the look wakes us.
            asleep.store(true, SeqCst);
            let gate = shared.gate.load(SeqCst);
            let missed = gate & OPEN != 0 && gate & !(CALL - 1) != last;
            if !missed && !shared.stop.load(SeqCst) {
                thread::park();
            }
            asleep.store(false, SeqCst);
            turns = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Whether there can be more threads than the calling one.
    const CAN_SPAWN: bool = cfg!(not(all(target_family = "wasm", not(target_feature = "atomics"))));

    #[test]
    fn every_job_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Threads::oversubscribed(threads);
            assert_eq!(pool.count(), if CAN_SPAWN { threads } else { 1 });
            for jobs in [0, 1, 2, 7, 100, 1000] {
                let counts: Vec<AtomicU32> = (0..jobs).map(|_| AtomicU32::new(0)).collect();
                pool.run(jobs, |i| {
                    counts[i].fetch_add(1, Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_short_calls_with_pauses() {
        let pool = Threads::oversubscribed(3);
        let total = AtomicUsize::new(0);
        for round in 0..2000 {
            pool.run(4, |_| {
                total.fetch_add(1, Relaxed);
            });
            if round % 500 == 0 {
                thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert_eq!(total.load(Relaxed), 8000);
    }

    #[test]
    fn nested_and_concurrent_calls_finish() {
        let pool = Threads::oversubscribed(2);
        let total = AtomicUsize::new(0);
        let calls = || {
            for _ in 0..50 {
                pool.run(3, |_| {
                    pool.run(2, |_| {
                        total.fetch_add(1, Relaxed);
                    })
                });
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                if CAN_SPAWN {
                    scope.spawn(calls);
                } else {
                    calls();
                }
            }
        });
        assert_eq!(total.load(Relaxed), 3 * 50 * 3 * 2);
    }

    #[cfg(panic = "unwind")]
    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Threads::oversubscribed(2);
        for bad in 0..8 {
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert!(i != bad))));
            assert!(outcome.is_err());
        }
        let total = AtomicUsize::new(0);
        pool.run(8, |_| {
            total.fetch_add(1, Relaxed);
        });
        assert_eq!(total.load(Relaxed), 8);
        // On all threads: each job waits, with an end, for the other one to begin.
        let (begun, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(2, |_| {
            begun.fetch_add(1, Relaxed);
            let both = (0..1_000_000).any(|_| {
                thread::yield_now();
                begun.load(Relaxed) == 2
            });
            met.fetch_add(usize::from(both), Relaxed);
        });
        assert_eq!(met.load(Relaxed), 2);
    }

    /// As large as numbers are, parts are within the total and leave nothing out.
    #[test]
    fn shares_cover_the_total() {
        for total in [0, 1, 7, 1 << 40, usize::MAX] {
            for parts in [1, 2, 3, 1000, usize::MAX - 1] {
                let at =
                    [0, 1, parts / 2, parts - 1].map(|i| share(total, parts, i.min(parts - 1)));
                assert!(at.iter().all(|part| part.start <= part.end && part.end <= total));
                assert_eq!((at[0].start, at[3].end), (0, total), "{total} in {parts}");
            }
            let parts: Vec<_> = (0..9).map(|i| share(total, 9, i)).collect();
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }

    #[test]
    fn no_more_threads_than_cores_are_started() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = if CAN_SPAWN { cores } else { 1 };
        assert_eq!([1, cores + 7, 1 << 20].map(|n| Threads::new(n).count()), [1, most, most]);
        assert_eq!(Threads::oversubscribed(0).count(), 1);
    }

    /// What a job throws may throw again when it is dropped: the caller gets it, and the pool lives on.
    #[cfg(panic = "unwind")]
    #[test]
    fn a_panic_that_panics_when_dropped_does_not_hang_the_pool() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let pool = Threads::oversubscribed(3);
        for _ in 0..20 {
            let bombs = || {
                pool.run(64, |i| {
                    thread::sleep(std::time::Duration::from_micros(100));
                    if i % 2 == 1 {
                        std::panic::panic_any(Bomb)
                    }
                })
            };
            let thrown = catch_unwind(AssertUnwindSafe(bombs)).unwrap_err();
            assert!(thrown.is::<Bomb>());
            std::mem::forget(thrown);
            let total = AtomicUsize::new(0);
            pool.run(8, |_| {
                total.fetch_add(1, Relaxed);
            });
            assert_eq!(total.load(Relaxed), 8);
        }
    }

    #[test]
    fn scratch_belongs_to_one_job_at_a_time() {
        let pool = Threads::oversubscribed(3);
        let mut scratch = vec![Block::ZERO; 3 * 2];
        let wrong = AtomicUsize::new(0);
        pool.run_with_scratch(200, &mut scratch, 2, |i, piece| {
            piece.fill(Block([i as f32; 16]));
            thread::yield_now();
            let same = piece.iter().all(|block| block.0 == [i as f32; 16]);
            wrong.fetch_add(usize::from(!same || piece.len() != 2), Relaxed);
        });
        assert_eq!(wrong.load(Relaxed), 0);
    }

    #[test]
    fn planes_of_a_part_leave_the_others_alone() {
        let pool = Threads::oversubscribed(2);
        let layout = Layout::new(48, 1, 2).part(32);
        let mut blocks = vec![Block::ZERO; 2 * 6 - 2];
        pool.planes((&mut blocks, &layout), 2, 3, |i, plane| {
            plane.fill(Block([i as f32 + 1.0; 16]))
        });
        let got: Vec<f32> = blocks.iter().map(|block| block.0[0]).collect();
        assert_eq!(got, [1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 3.0, 3.0, 4.0, 4.0]);
    }

    #[cfg(panic = "unwind")]
    #[test]
    fn planes_that_are_not_there_are_refused() {
        let huge = usize::MAX / 2 + 1;
        for (layout, n) in [
            (Layout::new(16, 1, 3), 1),
            (Layout::new(16, 1, 1), 3),
            (Layout { gap: huge, ..Layout::new(16, 1, 1) }, 3),
            (Layout { halo: [0, huge], ..Layout::new(16, 1, 1) }, 1),
            (Layout::new(16, huge, 2), 1),
        ] {
            let mut blocks = vec![Block::ZERO; 2];
            let pool = Threads::new(1);
            let call = || pool.planes((&mut blocks, &layout), n, 1, |_, _| panic!("a job ran"));
            let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            let what = panic.downcast_ref::<&str>().copied();
            assert_eq!(what, Some("the planes are not within the items"), "{layout:?}, {n}");
        }
    }

    #[test]
    fn chunks_cover_the_slice() {
        let pool = Threads::oversubscribed(2);
        let mut blocks = vec![Block::ZERO; 10];
        pool.chunks(&mut blocks, 4, |i, piece| piece.fill(Block([i as f32 + 1.0; 16])));
        let firsts: Vec<f32> = blocks.iter().map(|b| b.0[0]).collect();
        assert_eq!(firsts, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0]);
    }

    #[test]
    fn pairs_of_chunks_cover_both_slices() {
        let pool = Threads::oversubscribed(2);
        let (mut a, mut b) = (vec![Block::ZERO; 5], vec![Block::ZERO; 9]);
        pool.chunk_pairs((&mut a, 2), (&mut b, 4), |i, a, b| {
            a.fill(Block([i as f32 + 1.0; 16]));
            b.fill(Block([a.len() as f32; 16]));
        });
        let firsts = |blocks: &[Block]| blocks.iter().map(|b| b.0[0]).collect::<Vec<f32>>();
        assert_eq!(firsts(&a), [1.0, 1.0, 2.0, 2.0, 3.0]);
        assert_eq!(firsts(&b), [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]);
    }
}
