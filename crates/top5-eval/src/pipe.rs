//! The pipe from a dataset to answers: images → views → batches → logits → one row per view → their average.
//!
//! Views of neighbouring images share batches where they are of one size, so that one crop per image is a case like any other.
//! Images are decoded and cut on threads of their own, a bounded number of views ahead of the network: memory does not
//! depend on the number of views. Answers come in the order of the images, and each is a sum in the order of its views: they
//! depend on no number of threads, and on the size of batches only as the kernels do that are chosen for it.

mod prepare;
mod sessions;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;

use top5_data::{DataError, Dataset, Image, MemoryDataset, Preprocess};
use top5_graph::{Graph, GraphError, Network};

use crate::error::EvaluationError;
use crate::metric::softmax;
use crate::protocol::{Average, Part, Protocol, check_fit};
use prepare::{Input, Plan, Prepared, Queue};
use sessions::{Form, Sessions};

/// A network that looks at images by a protocol. Sessions are made for the sizes that come, and share the network's weights.
pub struct Pipe<'n> {
    protocol: Protocol,
    preprocess: Preprocess,
    answers: Answers,
    /// Views of the network's input size at once; of larger ones as many as have no more pixels.
    batch: usize,
    /// Threads that decode and cut, beside the caller's while it waits.
    threads: usize,
    sessions: Sessions<'n>,
}

/// Which of a network's classes its answers are about.
struct Answers {
    /// How many classes the network has.
    all: usize,
    /// Those that may be the answer, in the order in which they are told; none where that is all of them.
    only: Option<Vec<usize>>,
}

impl Answers {
    fn count(&self) -> usize {
        self.only.as_ref().map_or(self.all, Vec::len)
    }

    /// A map of the classes' logits as if the network had no others. Where one of these is not finite, nothing is.
    fn of<'m>(&self, map: &'m [f32]) -> Cow<'m, [f32]> {
        let Some(only) = &self.only else { return Cow::Borrowed(map) };
        let places = map.len() / self.all.max(1);
        if map.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return Cow::Owned(vec![f32::NAN; only.len() * places]);
        }
        let of_class = |&class: &usize| &map[class * places..(class + 1) * places];
        Cow::Owned(only.iter().flat_map(of_class).copied().collect())
    }
}

/// What an image came to.
#[derive(Debug)]
pub struct Answer {
    /// Its number in the dataset.
    pub index: usize,
    /// What tells it from others ([`Image::fingerprint`]); 0 where it cannot be read.
    pub fingerprint: u64,
    /// The probability of each class that may be the answer, which sum to one; or why there are none:
    /// [`EvaluationError::Data`] where the image cannot be read, [`EvaluationError::NoForm`] where the network has no form for a view
    /// of it.
    pub probabilities: Result<Vec<f64>, EvaluationError>,
}

impl<'n> Pipe<'n> {
    /// A pipe through `network`, which must have been made with [`Retain::Tensors`](top5_graph::Retain::Tensors) where the
    /// protocol needs it in more than one form. Fails where the protocol makes no sense, or the network has no form for it.
    pub fn new(
        network: &'n dyn Network,
        protocol: Protocol,
        preprocess: Preprocess,
        batch: usize,
        threads: usize,
    ) -> Result<Self, EvaluationError> {
        let graph = network.graph().inference();
        Self::check(&graph, &protocol)?;
        let (answers, batch) = (Answers { all: graph.classes(), only: None }, batch.max(1));
        let sessions = Sessions::new(network, graph, batch);
        Ok(Self { protocol, preprocess, answers, batch, threads: threads.max(1), sessions })
    }

    /// The same pipe for a network whose classes are only these, in this order: the logits of all others are left out of every
    /// view, before any softmax. Panics where the network has no such class.
    #[must_use]
    pub fn among(mut self, classes: Vec<usize>) -> Self {
        assert!(classes.iter().all(|&class| class < self.answers.all), "classes of the network");
        self.answers.only = Some(classes);
        self
    }

    /// Fails where a protocol makes no sense, or the network of a graph has no form for it whatever the image: before anything is
    /// computed, at the sizes that an image of the input's proportions would have.
    pub fn check(graph: &Graph, protocol: &Protocol) -> Result<(), EvaluationError> {
        protocol.check().map_err(EvaluationError::Protocol)?;
        let [_, height, width] = graph.input();
        check_fit(protocol, [height, width]).map_err(EvaluationError::Protocol)?;
        for part in &protocol.parts {
            for view in part.views([height, width], [height, width]) {
                form(part, view.size, [height, width]).of(graph)?;
            }
        }
        Ok(())
    }

    /// The network, without auxiliary heads.
    pub fn graph(&self) -> &Graph {
        self.sessions.graph()
    }

    /// The protocol.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// The preprocessing whose channels, filter and statistics hold for every view.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The probabilities of one image.
    pub fn image(&mut self, image: &Image) -> Result<Vec<f64>, EvaluationError> {
        let shape = [image.channels, image.height, image.width];
        let class = vec!["image".to_owned()];
        let dataset = MemoryDataset::new("image", class, shape, image.pixels.clone(), vec![0]);
        let mut probabilities = Vec::new();
        self.run(&dataset, 0..1, &mut |answer| -> Result<(), EvaluationError> {
            probabilities = answer.probabilities?;
            Ok(())
        })?;
        Ok(probabilities)
    }

    /// Looks at the images of `range`, which must lie in the dataset, and hands over what each came to, in their order. Ends
    /// with the first error of the network or of `each`; that an image cannot be read, or has a size that the network has no form
    /// for, is its answer.
    pub fn run<E: From<EvaluationError>>(
        &mut self,
        dataset: &dyn Dataset,
        range: Range<usize>,
        each: &mut dyn FnMut(Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        let [_, height, width] = self.graph().input();
        let plan = Plan {
            dataset,
            protocol: &self.protocol,
            preprocess: &self.preprocess,
            input: [height, width],
            range,
            batch: self.batch,
            threads: self.threads,
        };
        let queue = Queue::new(&plan);
        let (batch, sessions) = (self.batch, &mut self.sessions);
        let mut desk = Desk::new(dataset, &self.protocol, &self.answers, batch, sessions);
        thread::scope(|scope| {
            // One thread works ahead in any case; of several, one is the caller's.
            // Where the system starts none, the caller does it all.
            for _ in 0..(self.threads - 1).max(1) {
                let _ = thread::Builder::new().spawn_scoped(scope, || queue.work());
            }
            // Whatever ends the loop, the threads must end too.
            let stop = StopOnDrop(&queue);
            while let Some(prepared) = queue.next() {
                desk.take(prepared)?;
                desk.answer(each)?;
            }
            desk.flush()?;
            desk.answer(each)?;
            drop(stop);
            Ok(())
        })
    }
}

/// The form of the network that a view of this size needs.
fn form(part: &Part, size: [usize; 2], input: [usize; 2]) -> Form {
    let dense = match part {
        Part::Dense(dense) => Some(dense.form()),
        Part::Crops(_) if size != input => Some(top5_graph::DenseForm::default()),
        Part::Crops(_) => None,
    };
    Form { size, dense }
}

struct StopOnDrop<'q, 'p>(&'q Queue<'p>);

impl Drop for StopOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Where views wait for a full batch, and images for their last view.
struct Desk<'a, 'n> {
    dataset: &'a dyn Dataset,
    protocol: &'a Protocol,
    answers: &'a Answers,
    batch: usize,
    sessions: &'a mut Sessions<'n>,
    /// The form that the waiting views need.
    form: Option<Form>,
    /// The waiting views, and of which image and part each is.
    inputs: Vec<f32>,
    owners: Vec<(usize, usize)>,
    /// Images in their order, from the first one without an answer.
    open: VecDeque<Open>,
}

/// An image that waits for its answer.
struct Open {
    index: usize,
    fingerprint: u64,
    /// For each part, the sum of its rows so far.
    sums: Vec<Vec<f64>>,
    /// Views whose row is not there yet.
    left: usize,
    /// Why there is no answer.
    error: Option<EvaluationError>,
    /// Whether all its views have come.
    whole: bool,
}

impl<'a, 'n> Desk<'a, 'n> {
    fn new(
        dataset: &'a dyn Dataset,
        protocol: &'a Protocol,
        answers: &'a Answers,
        batch: usize,
        sessions: &'a mut Sessions<'n>,
    ) -> Self {
        let (inputs, owners, open) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { dataset, protocol, answers, batch, sessions, form: None, inputs, owners, open }
    }

    /// Puts views to those that wait; a batch that is full goes through the network.
    fn take(&mut self, prepared: Prepared) -> Result<(), EvaluationError> {
        let Prepared { index, fingerprint, inputs, last } = prepared;
        if self.open.back().is_none_or(|open| open.index != index) {
            let sums = vec![vec![0.0; self.answers.count()]; self.protocol.parts.len()];
            let (left, error) = (self.protocol.count(), None);
            self.open.push_back(Open { index, fingerprint, sums, left, error, whole: false });
        }
        let open = self.open.back_mut().expect("it was pushed");
        open.whole = last;
        let inputs = match inputs {
            Ok(inputs) => inputs,
            // A fault of the program is none of the image's.
            Err(error @ DataError::Worker { .. }) => return Err(error.into()),
            Err(error) => {
                (open.error, open.left) = (Some(error.into()), 0);
                return Ok(());
            }
        };
        for Input { part, size, values } in inputs {
            let [_, height, width] = self.sessions.graph().input();
            let form = form(&self.protocol.parts[part], size, [height, width]);
            if self.form != Some(form) {
                self.flush()?;
                self.form = Some(form);
            }
            self.inputs.extend(values);
            self.owners.push((index, part));
            if self.owners.len() == self.room(form) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// How many views of a form are looked at together.
    fn room(&self, form: Form) -> usize {
        match form.dense {
            None => self.batch,
            // An image and its mirror image: the next one has another size as a rule.
            Some(_) => self.sessions.room(form.size).min(2),
        }
    }

    /// Sends the waiting views through the network.
    fn flush(&mut self) -> Result<(), EvaluationError> {
        let (Some(form), false) = (self.form, self.owners.is_empty()) else { return Ok(()) };
        let room = self.room(form);
        let session = match self.sessions.session(form, room) {
            Err(EvaluationError::NoForm { size, source, .. }) => {
                self.refuse(size, &source);
                return Ok(());
            }
            session => session?,
        };
        let logits = session.forward(&self.inputs)?.logits;
        let maps = logits.data().chunks_exact(logits.data().len() / self.owners.len());
        let first = self.open.front().map_or(0, |open| open.index);
        let classes = self.answers.count();
        for (map, &(index, part)) in maps.zip(&self.owners) {
            let map = self.answers.of(map);
            let row = match &self.protocol.parts[part] {
                Part::Crops(_) => crate::dense::pool(&map, classes, Default::default()),
                Part::Dense(dense) => dense.row(&map, classes),
            };
            let row: Vec<f64> = match self.is_probability(part) || self.of_logits() {
                true => row.into_iter().map(f64::from).collect(),
                false => softmax(&row),
            };
            let open = &mut self.open[index - first];
            open.sums[part].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            open.left -= 1;
        }
        self.inputs.clear();
        self.owners.clear();
        Ok(())
    }

    /// Gives up the images of the waiting views, which are of a size that the network has no form for.
    fn refuse(&mut self, size: [usize; 2], source: &GraphError) {
        let first = self.open.front().map_or(0, |open| open.index);
        for (index, _) in self.owners.drain(..) {
            let open = &mut self.open[index - first];
            let image = Some(self.dataset.sample_name(index));
            open.error.get_or_insert(EvaluationError::NoForm {
                image,
                size,
                source: source.clone(),
            });
            open.left -= 1;
        }
        self.inputs.clear();
    }

    fn of_logits(&self) -> bool {
        self.protocol.average == Average::Logits
    }

    /// Whether rows of a part are probabilities already.
    fn is_probability(&self, part: usize) -> bool {
        match &self.protocol.parts[part] {
            Part::Dense(dense) => dense.softmax == crate::dense::SoftmaxAt::Place,
            Part::Crops(_) => false,
        }
    }

    /// Hands over the images that have their answer.
    fn answer<E: From<EvaluationError>>(
        &mut self,
        each: &mut dyn FnMut(Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.open.front().is_some_and(|open| open.whole && open.left == 0) {
            let Some(open) = self.open.pop_front() else { break };
            let Open { index, fingerprint, .. } = open;
            let probabilities = match open.error {
                Some(error) => Err(error),
                None => Ok(self.average(&open.sums)),
            };
            each(Answer { index, fingerprint, probabilities })?;
        }
        Ok(())
    }

    /// The mean over the parts of the means over their views, as probabilities.
    fn average(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        let mut mean = vec![0.0; self.answers.count()];
        for (at, (sum, part)) in sums.iter().zip(&self.protocol.parts).enumerate() {
            let all = match self.is_probability(at) {
                // The greatest over places of several probabilities do not sum to one: a part counts no more for that.
                true => sum.iter().sum(),
                false => part.count() as f64,
            };
            let share = 1.0 / (all * sums.len() as f64);
            mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean += sum * share);
        }
        match self.protocol.average {
            Average::Logits => softmax(&mean),
            Average::Probabilities => {
                let all: f64 = mean.iter().sum();
                mean.iter_mut().for_each(|p| *p /= all);
                mean
            }
        }
    }
}

/// A lock that no panic leaves half-done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
