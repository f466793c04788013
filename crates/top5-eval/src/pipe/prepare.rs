//! Threads that decode images and cut views, in order and no further ahead than the network needs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use top5_data::{DataError, Dataset, Image, Preprocess, Sample};

use super::lock;
use crate::crops::Crops;
use crate::protocol::{Part, Protocol};
use crate::view::{Scaled, View, in_channels};

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
    /// Its fingerprint; 0 where it cannot be read.
    pub(super) fingerprint: u64,
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

/// Views that are prepared together: of this part, from one to another, which are of one scale.
struct Chunk {
    part: usize,
    /// All views of the scale.
    scale: Range<usize>,
    views: Range<usize>,
    /// The scale's number, over all parts.
    shared: usize,
}

/// An image that some thread needs.
#[derive(Default)]
struct Decoded {
    image: OnceLock<Result<Opened, Mutex<Option<DataError>>>>,
    /// The image at the scales that are being cut.
    scales: Mutex<BTreeMap<usize, AtScale>>,
    /// Chunks of it that are done.
    done: AtomicUsize,
}

/// An image, and what tells it from others.
struct Opened {
    image: Image,
    fingerprint: u64,
}

/// An image at a scale, made once for all chunks of the scale and given up after the last one.
#[derive(Default)]
struct AtScale {
    scaled: Arc<OnceLock<Scaled>>,
    /// Views of it that are cut.
    cut: usize,
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
        let (mut chunks, mut crops_alone, mut shared) = (Vec::new(), true, 0);
        for (part, of) in plan.protocol.parts.iter().enumerate() {
            crops_alone &= matches!(of, Part::Crops(_));
            for start in (0..of.count()).step_by(of.of_a_scale()) {
                let scale = start..start + of.of_a_scale();
                // As even as they can be.
                let step = scale.len().div_ceil(scale.len().div_ceil(CROPS));
                chunks.extend(scale.clone().step_by(step).map(|start| {
                    let views = start..scale.end.min(start + step);
                    Chunk { part, scale: scale.clone(), views, shared }
                }));
                shared += 1;
            }
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
        let (fingerprint, inputs) = cut.unwrap_or_else(|_| {
            let reason = format!("preparing sample {index} panicked");
            (0, Err(DataError::Worker { reason }))
        });
        Prepared { index, fingerprint, inputs, last }
    }

    fn cut(&self, index: usize, chunk: &Chunk) -> (u64, Result<Vec<Input>, DataError>) {
        let decoded = Arc::clone(lock(&self.images).entry(index).or_default());
        let image = decoded.image.get_or_init(|| match self.plan.dataset.sample(index) {
            Ok(Sample { image, .. }) => {
                let fingerprint = image.fingerprint();
                Ok(Opened { image, fingerprint })
            }
            Err(error) => Err(Mutex::new(Some(error))),
        });
        let cut = match image {
            Ok(Opened { image, fingerprint }) => {
                (*fingerprint, Ok(self.inputs(image, &decoded, chunk)))
            }
            Err(error) => (0, lock(error).take().map_or_else(|| Ok(Vec::new()), Err)),
        };
        if decoded.done.fetch_add(1, Ordering::AcqRel) + 1 == self.chunks.len() {
            lock(&self.images).remove(&index);
        }
        cut
    }

    fn inputs(&self, image: &Image, decoded: &Decoded, chunk: &Chunk) -> Vec<Input> {
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
        let scaled = Arc::clone(&lock(&decoded.scales).entry(chunk.shared).or_default().scaled);
        let of_scale = || Scaled::new(&image, preprocess, &views[chunk.scale.clone()]);
        let windows = scaled.get_or_init(of_scale);
        let input = |view: &View| {
            let View { size, .. } = *view;
            let mut values = vec![0.0; channels * size[0] * size[1]];
            windows.write(&image, preprocess, view, &mut values);
            Input { part, size, values }
        };
        let inputs = views[chunk.views.clone()].iter().map(input).collect();
        if let Entry::Occupied(mut scale) = lock(&decoded.scales).entry(chunk.shared) {
            scale.get_mut().cut += chunk.views.len();
            if scale.get().cut == chunk.scale.len() {
                scale.remove();
            }
        }
        inputs
    }
}

fn wait<'g>(condition: &Condvar, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use top5_data::MemoryDataset;

    use super::*;
    use crate::crops::Squares;
    use crate::dense::Dense;

    #[test]
    fn chunks_keep_to_a_scale_and_give_its_views_in_order() {
        let pixels: Vec<u8> = (0..20 * 30).map(|i| (i * 37 % 251) as u8).collect();
        let image = Image { channels: 1, height: 20, width: 30, pixels };
        let class = vec!["image".to_owned()];
        let dataset =
            MemoryDataset::new("image", class, [1, 20, 30], image.pixels.clone(), vec![0]);
        let protocol = Protocol::of(
            "test",
            vec![
                Part::Crops(Crops::Squares { shorter: vec![9, 12], squares: Squares::Three }),
                Part::Crops(Crops::Grid { shorter: vec![10], side: 5 }),
                Part::Dense(Dense::mean(&[9, 12], true)),
            ],
        );
        let preprocess = Preprocess::squash([1, 8, 8]);
        let plan = Plan {
            dataset: &dataset,
            protocol: &protocol,
            preprocess: &preprocess,
            input: [8, 8],
            range: 0..1,
            batch: 4,
            threads: 1,
        };
        let queue = Queue::new(&plan);
        let lengths: Vec<usize> = queue.chunks.iter().map(|chunk| chunk.views.len()).collect();
        assert_eq!(lengths, [12, 12, 12, 12, 12, 12, 13, 13, 13, 11, 2, 2]);

        let mut views = protocol.parts.iter().flat_map(|part| part.views([20, 30], [8, 8]));
        let mut decoded = None;
        while let Some(prepared) = queue.next() {
            for input in prepared.inputs.unwrap() {
                let mut alone = vec![0.0; input.values.len()];
                views.next().unwrap().apply(&image, &preprocess, &mut alone);
                assert_eq!(input.values, alone);
            }
            // No scaled image outlives its scale.
            decoded = lock(&queue.images).values().next().cloned().or(decoded);
            let open = lock(&decoded.as_ref().unwrap().scales).len();
            assert!(open <= 1, "{open}");
        }
        assert!(views.next().is_none() && lock(&queue.images).is_empty());
        assert!(lock(&decoded.unwrap().scales).is_empty());
    }
}
