//! Threads that decode images and cut views, in order and no further ahead than the network needs.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use top5_data::{DataError, Dataset, Image, Preprocess};

use super::lock;
use crate::crops::Crops;
use crate::protocol::{Part, Protocol};
use crate::view::{View, Windows, in_channels};

/// Most crops that one thread cuts before it hands them over.
const CROPS: usize = 16;

/// What is to be prepared.
pub(super) struct Plan<'p> {
    pub(super) dataset: &'p dyn Dataset,
    pub(super) protocol: &'p Protocol,
    pub(super) preprocess: &'p Preprocess,
    /// Height and width of the network's input.
    pub(super) input: [usize; 2],
    /// Numbers of the images.
    pub(super) range: Range<usize>,
    /// Crops that the network takes at once.
    pub(super) batch: usize,
    /// Threads that prepare.
    pub(super) threads: usize,
}

/// Some views of an image.
pub(super) struct Prepared {
    /// The image's number in the dataset.
    pub(super) index: usize,
    /// The views, or why the image cannot be read: said once.
    pub(super) inputs: Result<Vec<Input>, DataError>,
    /// Whether no more of the image follow.
    pub(super) last: bool,
}

/// The network's input for a view.
pub(super) struct Input {
    /// The protocol's part that the view is of.
    pub(super) part: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Order C H W.
    pub(super) values: Vec<f32>,
}

/// Views that are prepared together: of this part, from one to another.
struct Chunk {
    part: usize,
    views: Range<usize>,
}

/// An image that some thread needs.
#[derive(Default)]
struct Decoded {
    image: OnceLock<Result<Image, Mutex<Option<DataError>>>>,
    /// Chunks of it that are done.
    done: AtomicUsize,
}

/// The work, and what is done of it.
pub(super) struct Queue<'p> {
    plan: &'p Plan<'p>,
    /// Of each image.
    chunks: Vec<Chunk>,
    /// Chunks, over all images, that are prepared ahead.
    ahead: usize,
    images: Mutex<BTreeMap<usize, Arc<Decoded>>>,
    state: Mutex<State>,
    /// There may be something to claim, or the end has come.
    work: Condvar,
    /// The next chunk may be ready.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    /// Chunks claimed so far.
    claimed: usize,
    /// Chunks handed over.
    taken: usize,
    /// Those after them that are claimed, each once it is ready.
    window: VecDeque<Option<Prepared>>,
    stopped: bool,
}

impl<'p> Queue<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        let mut chunks = Vec::new();
        let mut crops_alone = true;
        for (part, of) in plan.protocol.parts.iter().enumerate() {
            let step = match of {
                Part::Crops(_) => CROPS,
                Part::Dense(dense) => {
                    crops_alone = false;
                    dense.of_a_scale()
                }
            };
            let starts = (0..of.count()).step_by(step);
            chunks.extend(starts.map(|start| {
                let views = start..of.count().min(start + step);
                Chunk { part, views }
            }));
        }
        let largest = chunks.iter().map(|chunk| chunk.views.len()).max().unwrap_or(1);
        let batches = if crops_alone { (2 * plan.batch).div_ceil(largest) } else { 0 };
        let ahead = batches.max(plan.threads + 2);
        let (images, state) = (Mutex::default(), Mutex::default());
        let (work, ready) = (Condvar::new(), Condvar::new());
        Self { plan, chunks, ahead, images, state, work, ready }
    }

    /// A thread's life.
    pub(super) fn work(&self) {
        let mut state = lock(&self.state);
        while !state.stopped && state.claimed < self.total() {
            match self.claim(&mut state) {
                Some(chunk) => {
                    drop(state);
                    let prepared = self.prepare(chunk);
                    state = self.hand_over(chunk, prepared);
                }
                None => state = wait(&self.work, state),
            }
        }
    }

    /// The next views; none after the last ones. Who waits for them prepares some.
    pub(super) fn next(&self) -> Option<Prepared> {
        let mut state = lock(&self.state);
        if state.taken == self.total() {
            return None;
        }
        loop {
            if let Some(Some(_)) = state.window.front() {
                let prepared = state.window.pop_front().flatten();
                state.taken += 1;
                drop(state);
                self.work.notify_all();
                return prepared;
            }
            match self.claim(&mut state) {
                Some(chunk) => {
                    drop(state);
                    let prepared = self.prepare(chunk);
                    state = self.hand_over(chunk, prepared);
                }
                None => state = wait(&self.ready, state),
            }
        }
    }

    /// Lets the threads end.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.work.notify_all();
    }

    fn total(&self) -> usize {
        self.plan.range.len() * self.chunks.len()
    }

    fn claim(&self, state: &mut State) -> Option<usize> {
        let chunk = state.claimed;
        if state.stopped || chunk == self.total() || chunk >= state.taken + self.ahead {
            return None;
        }
        state.claimed += 1;
        state.window.push_back(None);
        Some(chunk)
    }

    fn hand_over(&self, chunk: usize, prepared: Prepared) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        let at = chunk - state.taken;
        state.window[at] = Some(prepared);
        self.ready.notify_one();
        state
    }

    fn prepare(&self, chunk: usize) -> Prepared {
        let (image, which) = (chunk / self.chunks.len(), chunk % self.chunks.len());
        let index = self.plan.range.start + image;
        let (chunk, last) = (&self.chunks[which], which + 1 == self.chunks.len());
        // What a call leaves half-done is its own.
        let cut = catch_unwind(AssertUnwindSafe(|| self.cut(index, chunk)));
        let inputs = cut.unwrap_or_else(|_| {
            Err(DataError::Worker { reason: format!("preparing sample {index} panicked") })
        });
        Prepared { index, inputs, last }
    }

    fn cut(&self, index: usize, chunk: &Chunk) -> Result<Vec<Input>, DataError> {
        let decoded = Arc::clone(lock(&self.images).entry(index).or_default());
        let image = decoded.image.get_or_init(|| match self.plan.dataset.sample(index) {
            Ok(sample) => Ok(sample.image),
            Err(error) => Err(Mutex::new(Some(error))),
        });
        let inputs = match image {
            Ok(image) => Ok(self.inputs(image, chunk)),
            Err(error) => match lock(error).take() {
                Some(error) => Err(error),
                None => Ok(Vec::new()),
            },
        };
        if decoded.done.fetch_add(1, Ordering::AcqRel) + 1 == self.chunks.len() {
            lock(&self.images).remove(&index);
        }
        inputs
    }

    fn inputs(&self, image: &Image, chunk: &Chunk) -> Vec<Input> {
        let Plan { protocol, preprocess, input, .. } = *self.plan;
        let (part, channels) = (chunk.part, preprocess.input_size[0]);
        if protocol.parts[part] == Part::Crops(Crops::Own) {
            let mut values = vec![0.0; preprocess.size()];
            preprocess.apply(image, &mut values);
            return vec![Input { part, size: input, values }];
        }
        let normalised = match preprocess.drawn_digits {
            true => std::borrow::Cow::Owned(top5_data::normalise_digit(image)),
            false => std::borrow::Cow::Borrowed(image),
        };
        let image = in_channels(&normalised, channels);
        let views = protocol.parts[part].views([image.height, image.width], input);
        let views = &views[chunk.views.clone()];
        let mut windows = Windows::new(&image, preprocess, views);
        let input = |view: &View| {
            let View { size, .. } = *view;
            let mut values = vec![0.0; channels * size[0] * size[1]];
            windows.write(view, &mut values);
            Input { part, size, values }
        };
        views.iter().map(input).collect()
    }
}

fn wait<'g>(condition: &Condvar, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}
