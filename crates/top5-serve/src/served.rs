//! A model with the worker that runs it, and what is known of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use top5::data::{Image, Limits, Preprocess, decode};
use top5::explain::blocks::{Block, blocks};
use top5::graph::{Device, Graph, Network, Retain, Tensor};
use top5::{Classifier, Model, draw, zoo};

use crate::Options;
use crate::failure::Failure;
use crate::metrics::OfModel;
use crate::start::StartError;
use crate::worker::{Job, Worker};
use crate::zoo::as_written;

/// One model.
pub(crate) struct Served {
    pub(crate) name: String,
    /// Without auxiliary heads.
    pub(crate) graph: Graph,
    pub(crate) classes: Arc<[String]>,
    pub(crate) preprocess: Preprocess,
    /// Its weights for explanations, which take the memory of a second copy.
    pub(crate) network: Option<Arc<dyn Network>>,
    /// What its layers add to their sums, by layer.
    pub(crate) biases: BTreeMap<String, Vec<f32>>,
    /// Where its branches part and meet again.
    pub(crate) blocks: Vec<Block>,
    /// How its layers are joined, as SVG.
    pub(crate) structure: String,
    pub(crate) metrics: Arc<OfModel>,
    /// Room for images.
    room: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    /// Whether its worker works.
    alive: Arc<AtomicBool>,
}

impl Served {
    /// Plans the model, tries it with an image of zeros, to which its answer must be numbers, and starts its worker. What it does is counted in `metrics`.
    pub(crate) fn start(
        name: String,
        model: Model,
        device: &dyn Device,
        options: &Options,
        metrics: Arc<OfModel>,
    ) -> Result<Self, StartError> {
        let batch = options.max_batch;
        let bias = |(name, tensor): (&str, &Tensor)| {
            name.strip_suffix(".bias").map(|layer| (layer.to_owned(), tensor.data().to_vec()))
        };
        let biases = model.weights.iter().filter_map(bias).collect();
        let retain = if options.explain { Retain::Tensors } else { Retain::Nothing };
        let mut classifier = Classifier::retaining(device, model, batch, retain)?;
        let zeros = vec![0.0; classifier.graph().input().iter().product()];
        classifier.logits(&zeros)?;
        let network = options.explain.then(|| Arc::clone(classifier.network()));
        let graph = classifier.graph().clone();
        let (classes, preprocess) =
            (Arc::clone(classifier.classes()), classifier.preprocess().clone());
        let (jobs, waiting) = mpsc::channel();
        let alive = Arc::new(AtomicBool::new(true));
        let worker = Worker {
            classifier,
            batch,
            delay: options.batch_delay,
            metrics: Arc::clone(&metrics),
            alive: Arc::clone(&alive),
        };
        thread::Builder::new().spawn(move || worker.run(&waiting))?;
        Ok(Self {
            network,
            biases,
            blocks: blocks(&graph),
            structure: draw::architecture(&graph),
            room: Arc::new(Semaphore::new(options.queue.max(batch))),
            name,
            graph,
            classes,
            preprocess,
            metrics,
            jobs,
            alive,
        })
    }

    /// Room for so many images, or the answer that there is none.
    pub(crate) fn admit(&self, images: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(images as u32);
        room.map_err(|_| {
            self.metrics.full.add(1);
            Failure::busy(format!("{}: too many images wait already", self.name))
        })
    }

    /// Hands work to the worker.
    pub(crate) fn enqueue(&self, job: Job) -> Result<(), Failure> {
        let sent = self.is_alive() && self.jobs.send(job).is_ok();
        sent.then_some(()).ok_or_else(|| Failure::busy(format!("{} does not run", self.name)))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Decodes an image file and prepares it: [channels, height, width] of the network's input.
    pub(crate) fn prepare(
        &self,
        bytes: &[u8],
        limits: &Limits,
        out: &mut [f32],
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Err(Failure::bad("the file is empty: send the bytes of an image file"));
        }
        let begun = Instant::now();
        let image = decode(bytes, limits).map_err(|error| Failure::bad(error.to_string()))?;
        self.metrics.decode.add(begun.elapsed());
        self.resize(&image, out);
        Ok(())
    }

    /// Prepares an image.
    pub(crate) fn resize(&self, image: &Image, out: &mut [f32]) {
        let begun = Instant::now();
        self.preprocess.apply(image, out);
        self.metrics.resize.add(begun.elapsed());
    }

    /// The class of a name or number; `key` is where it was said.
    pub(crate) fn class(&self, said: &str, key: &str) -> Result<usize, Failure> {
        top5::class_named(&self.classes, said).ok_or_else(|| {
            let last = self.classes.len() - 1;
            Failure::bad(format!(
                "{key}: no such class: expected a name or a number from 0 to {last}"
            ))
        })
    }

    /// What people want to know of it: the model card.
    pub(crate) fn card(&self) -> Value {
        let published = zoo::network(self.graph.name()).ok().map(|network| {
            let paper = &network.paper;
            let errors = network.published.known().copied().unwrap_or_default();
            let errors: Vec<Value> = errors
                .iter()
                .map(|error| {
                    json!({ "top1": as_written(&error.top1), "top5": as_written(&error.top5), "set": error.set.to_string(),
                        "protocol": error.protocol, "source": error.source })
                })
                .collect();
            json!({ "year": network.year, "authors": paper.authors, "title": paper.title,
                "venue": paper.venue, "arxiv": paper.arxiv, "place": network.place.known(), "errors": errors })
        });
        json!({
            "name": self.name,
            "network": self.graph.name(),
            "input": self.graph.input(),
            "classes": self.classes.len(),
            "params": self.graph.param_count(),
            "macs": self.graph.macs(),
            "layers": self.graph.nodes().len() - 1,
            "preprocess": self.preprocess.describe(),
            "drawn_digits": self.preprocess.drawn_digits,
            "explains": self.network.is_some(),
            "published": published,
        })
    }
}
