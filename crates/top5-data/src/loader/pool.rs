//! Threads that fill batches, sample by sample, in the order of an epoch.
//!
//! Samples are claimed in order, a few at a time, and written into the batch that they belong to, so that what comes out
//! is the same for any number of threads. No sample is claimed that lies more than [`WINDOW`] batches ahead of the
//! consumer: this bounds the memory. Who waits for a batch reads samples of it himself, which also serves where the
//! system starts no thread.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use top5_graph::Stop;

use crate::error::DataError;

/// Batches that are being filled or wait, filled, for the consumer.
pub(super) const WINDOW: usize = 3;

/// Values that a thread reads before it hands them over: what fits into its nearer caches.
const CHUNK: usize = 1 << 16;

/// Writes the values of a sample, given by its number in the dataset, and returns its label.
pub(super) type Read = dyn Fn(usize, &mut [f32]) -> Result<u32, DataError> + Send + Sync;

/// What is to be read.
pub(super) struct Plan {
    /// How a sample is read.
    pub(super) read: Box<Read>,
    /// Numbers of the samples, in the order in which they are wanted.
    pub(super) order: Vec<usize>,
    /// Samples of a batch.
    pub(super) batch: usize,
    /// Values of a sample.
    pub(super) size: usize,
    /// A flag that ends the work.
    pub(super) stop: Option<Stop>,
}

/// A batch as it was read.
pub(super) struct Filled {
    /// The values of all its samples; those of a sample that could not be read mean nothing.
    pub(super) images: Vec<f32>,
    /// What each sample came to, in order.
    pub(super) labels: Vec<Result<u32, DataError>>,
}

/// The threads. Dropping it stops them, at the latest after the sample that each is at.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Where the consumer's thread reads samples.
    scratch: Vec<f32>,
}

struct Shared {
    plan: Plan,
    /// Samples that are claimed at once.
    chunk: usize,
    state: Mutex<State>,
    /// There may be something to claim, or the end has come.
    work: Condvar,
    /// A batch may be full.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    /// Samples claimed so far.
    claimed: usize,
    /// Batches that the consumer has taken.
    taken: usize,
    /// The batches after them, from the first to the last of which a sample is claimed.
    window: VecDeque<Slot>,
    stopped: bool,
}

/// A batch that is being filled.
struct Slot {
    images: Arc<Mutex<Vec<f32>>>,
    labels: Vec<Option<Result<u32, DataError>>>,
    missing: usize,
}

/// Samples that one thread reads: places in the plan's order, all of one batch.
struct Claim {
    places: Range<usize>,
    images: Arc<Mutex<Vec<f32>>>,
}

impl Pool {
    /// Starts `threads` threads, or as many of them as the system allows.
    pub(super) fn start(plan: Plan, threads: usize) -> Self {
        let fair = plan.batch.div_ceil(4 * threads.max(1));
        let chunk = (CHUNK / plan.size.max(1)).clamp(1, fair.max(1));
        let (work, ready) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { plan, chunk, state: Mutex::default(), work, ready });
        let start = |_| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("loader".to_owned()).spawn(move || shared.work()).ok()
        };
        let workers = (0..threads).map_while(start).collect();
        Self { shared, workers, scratch: Vec::new() }
    }

    /// The next batch; None after the last one. An error where the work was stopped.
    pub(super) fn next(&mut self) -> Option<Result<Filled, DataError>> {
        let Self { shared, scratch, .. } = self;
        let mut state = shared.lock();
        if state.taken * shared.plan.batch >= shared.plan.order.len() {
            return None;
        }
        loop {
            if shared.is_stopped(&mut state) {
                return Some(Err(DataError::Stopped));
            }
            if state.window.front().is_some_and(|slot| slot.missing == 0) {
                break;
            }
            match shared.claim(&mut state, 1) {
                Some(claim) => {
                    drop(state);
                    shared.fill(claim, scratch);
                    state = shared.lock();
                }
                None => state = shared.ready.wait(state).expect(NO_POISON),
            }
        }
        let slot = state.window.pop_front()?;
        state.taken += 1;
        drop(state);
        shared.work.notify_all();
        let images = std::mem::take(&mut *slot.images.lock().expect(NO_POISON));
        Some(Ok(Filled { images, labels: slot.labels.into_iter().flatten().collect() }))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // Nothing outside `catch_unwind` panics there; in a destructor there is nobody to tell.
            let _ = worker.join();
        }
    }
}

/// Why locking cannot fail.
const NO_POISON: &str = "no code that may panic runs under the loader's locks";

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_POISON)
    }

    /// Whether the work is to end. Who sees it first wakes the others.
    fn is_stopped(&self, state: &mut State) -> bool {
        if !state.stopped && self.plan.stop.as_ref().is_some_and(Stop::is_set) {
            state.stopped = true;
            self.work.notify_all();
            self.ready.notify_all();
        }
        state.stopped
    }

    /// A thread's life.
    fn work(&self) {
        let mut scratch = Vec::new();
        let mut state = self.lock();
        while !self.is_stopped(&mut state) && state.claimed < self.plan.order.len() {
            match self.claim(&mut state, WINDOW) {
                Some(claim) => {
                    drop(state);
                    self.fill(claim, &mut scratch);
                    state = self.lock();
                }
                None => state = self.work.wait(state).expect(NO_POISON),
            }
        }
    }

    /// The next samples that nobody has claimed, if they are of one of the next `window` batches.
    fn claim(&self, state: &mut State, window: usize) -> Option<Claim> {
        let Plan { order, batch, size, .. } = &self.plan;
        let first = state.claimed;
        let step = first / batch;
        let end = order.len().min((step + 1) * batch);
        if first >= end || step >= state.taken + window {
            return None;
        }
        let ahead = step - state.taken;
        if ahead == state.window.len() {
            let samples = end - step * batch;
            state.window.push_back(Slot {
                images: Arc::new(Mutex::new(vec![0.0; samples * size])),
                labels: (0..samples).map(|_| None).collect(),
                missing: samples,
            });
        }
        state.claimed = end.min(first + self.chunk);
        Some(Claim {
            places: first..state.claimed,
            images: Arc::clone(&state.window[ahead].images),
        })
    }

    /// Reads the claimed samples and hands them over. Ends early where the pool was stopped.
    fn fill(&self, claim: Claim, scratch: &mut Vec<f32>) {
        let Plan { order, batch, size, .. } = &self.plan;
        let Claim { places, images } = claim;
        scratch.resize(self.chunk * size, 0.0);
        let mut labels = Vec::with_capacity(places.len());
        for (index, out) in order[places.clone()].iter().zip(scratch.chunks_exact_mut(*size)) {
            if self.is_stopped(&mut self.lock()) {
                return;
            }
            labels.push(self.read(*index, out));
        }
        let start = places.start % batch * size;
        let values = places.len() * size;
        images.lock().expect(NO_POISON)[start..start + values].copy_from_slice(&scratch[..values]);

        let mut state = self.lock();
        let ahead = places.start / batch - state.taken;
        let slot = &mut state.window[ahead];
        slot.missing -= places.len();
        for (place, label) in places.zip(labels) {
            slot.labels[place % batch] = Some(label);
        }
        if slot.missing == 0 {
            self.ready.notify_one();
        }
    }

    /// Reads a sample. A panic is an error of this sample.
    fn read(&self, index: usize, out: &mut [f32]) -> Result<u32, DataError> {
        // What the call leaves half written is the sample's own part of the scratch memory, which an error makes void.
        let read = catch_unwind(AssertUnwindSafe(|| (self.plan.read)(index, out)));
        read.unwrap_or_else(|_| {
            Err(DataError::Worker { reason: format!("reading sample {index} panicked") })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn plan(samples: usize, batch: usize, read: Box<Read>) -> Plan {
        Plan { read, order: (0..samples).collect(), batch, size: 2, stop: None }
    }

    /// Two values and a label that are the sample's number.
    fn number(index: usize, out: &mut [f32]) -> Result<u32, DataError> {
        out.fill(index as f32);
        Ok(index as u32)
    }

    fn batches(mut pool: Pool) -> Vec<(Vec<f32>, Vec<u32>)> {
        let batch = |filled: Filled| {
            (filled.images, filled.labels.into_iter().map(Result::unwrap).collect())
        };
        std::iter::from_fn(|| pool.next()).map(Result::unwrap).map(batch).collect()
    }

    #[test]
    fn batches_come_in_order_for_any_number_of_threads() {
        let expected: Vec<(Vec<f32>, Vec<u32>)> = (0..50u32)
            .collect::<Vec<_>>()
            .chunks(7)
            .map(|part| (part.iter().flat_map(|&i| [i as f32; 2]).collect(), part.to_vec()))
            .collect();
        for threads in 0..6 {
            let pool = Pool::start(plan(50, 7, Box::new(number)), threads);
            assert_eq!(batches(pool), expected, "{threads} threads");
        }
    }

    #[test]
    fn a_slow_sample_holds_back_no_other_of_the_window() {
        // Sample 0 waits until all others of the window were read, which takes another thread.
        let read = AtomicUsize::new(0);
        let others = 4 * WINDOW - 1;
        let slow = move |index, out: &mut [f32]| {
            while index == 0 && read.load(Ordering::SeqCst) < others {
                thread::yield_now();
            }
            read.fetch_add(1, Ordering::SeqCst);
            number(index, out)
        };
        assert_eq!(batches(Pool::start(plan(40, 4, Box::new(slow)), 4)).len(), 10);
    }

    #[test]
    fn nothing_is_read_beyond_the_window() {
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let counted = move |index, out: &mut [f32]| {
            count.fetch_add(1, Ordering::SeqCst);
            number(index, out)
        };
        let mut pool = Pool::start(plan(1000, 10, Box::new(counted)), 3);
        for taken in 1..=5 {
            pool.next().unwrap().unwrap();
            assert!(read.load(Ordering::SeqCst) <= 10 * (taken + WINDOW));
        }
        drop(pool);
        assert!(read.load(Ordering::SeqCst) <= 10 * (5 + WINDOW));
    }

    #[test]
    fn a_stop_ends_the_work_after_the_samples_that_are_being_read() {
        for threads in [0, 1, 4] {
            let (stop, read) = (Stop::new(), Arc::new(AtomicUsize::new(0)));
            let (flag, count) = (stop.clone(), Arc::clone(&read));
            let stopping = move |index, out: &mut [f32]| {
                count.fetch_add(1, Ordering::SeqCst);
                if index == 25 {
                    flag.set();
                }
                number(index, out)
            };
            let plan = Plan { stop: Some(stop), ..plan(1000, 10, Box::new(stopping)) };
            let mut pool = Pool::start(plan, threads);
            let mut batches = std::iter::from_fn(|| pool.next()).take(4);
            let last = batches.find(Result::is_err);
            assert!(matches!(last, Some(Err(DataError::Stopped))), "{threads} threads");
            drop(pool);
            // Samples may be claimed, and read, ahead of the one that stops them.
            assert!(read.load(Ordering::SeqCst) <= 10 * (3 + WINDOW), "{threads} threads");
        }
    }

    #[test]
    fn errors_and_panics_are_those_of_their_samples() {
        let read = |index, out: &mut [f32]| match index {
            5 => Err(DataError::Index { name: "five".to_owned(), index, len: 0 }),
            9 => panic!("sample 9 panics in this test"),
            _ => number(index, out),
        };
        for threads in [0, 1, 3] {
            let mut pool = Pool::start(plan(12, 4, Box::new(read)), threads);
            let filled: Vec<Filled> =
                std::iter::from_fn(|| pool.next()).map(Result::unwrap).collect();
            let wrong = filled.iter().flat_map(|filled| &filled.labels).enumerate();
            let wrong: Vec<_> = wrong.filter(|(_, label)| label.is_err()).collect();
            assert!(
                matches!(
                    wrong[..],
                    [
                        (5, Err(DataError::Index { index: 5, .. })),
                        (9, Err(DataError::Worker { .. }))
                    ]
                ),
                "{wrong:?}"
            );
        }
    }
}
