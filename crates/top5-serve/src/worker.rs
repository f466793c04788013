//! The worker of a model: it runs what waits as one batch. It never waits for more unless it is told to, and runs nothing whose
//! client has left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use top5::Classifier;

use crate::failure::Failure;
use crate::metrics::OfModel;

/// Images of one request, prepared.
pub(crate) struct Job {
    /// [images, channels, height, width].
    pub(crate) input: Vec<f32>,
    pub(crate) images: usize,
    /// When it would have come if nothing had waited for a thread to decode it.
    pub(crate) queued: Instant,
    /// Closed when the client has left.
    pub(crate) reply: oneshot::Sender<Result<Answer, Failure>>,
    /// Its place, which is free again when the work is done.
    pub(crate) room: OwnedSemaphorePermit,
}

/// What the network says.
pub(crate) struct Answer {
    /// [images, classes].
    pub(crate) logits: Vec<f32>,
    /// How long the images waited, and how long the batch ran.
    pub(crate) queue: Duration,
    pub(crate) forward: Duration,
}

/// What runs batches.
pub(crate) struct Worker {
    pub(crate) classifier: Classifier,
    /// Most images at once.
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) metrics: Arc<OfModel>,
    pub(crate) alive: Arc<AtomicBool>,
}

/// However it ends.
impl Drop for Worker {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

impl Worker {
    /// Works until nobody can send any more.
    pub(crate) fn run(mut self, waiting: &Receiver<Job>) {
        let mut next = None;
        while self.alive.load(Ordering::Relaxed) {
            let Some(first) = next.take().or_else(|| waiting.recv().ok()) else { return };
            let jobs = self.gather(first, waiting, &mut next);
            self.answer(jobs);
        }
    }

    /// What runs together: in order, and no more images than a batch has. The first that has no room is `next`.
    fn gather(&self, first: Job, waiting: &Receiver<Job>, next: &mut Option<Job>) -> Vec<Job> {
        let until = Instant::now() + self.delay;
        let mut images = first.images;
        let mut jobs = vec![first];
        while images < self.batch {
            let left = until.saturating_duration_since(Instant::now());
            let job = match left.is_zero() {
                true => waiting.try_recv().ok(),
                false => waiting.recv_timeout(left).ok(),
            };
            let Some(job) = job else { break };
            if job.reply.is_closed() {
                self.metrics.cancelled.add(job.images as u64);
            } else if images + job.images > self.batch {
                *next = Some(job);
                break;
            } else {
                images += job.images;
                jobs.push(job);
            }
        }
        jobs
    }

    /// Runs jobs as one batch. Where that fails, each runs alone, so that a bad image fails alone.
    fn answer(&mut self, jobs: Vec<Job>) {
        let (gone, jobs): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| job.reply.is_closed());
        self.metrics.cancelled.add(gone.iter().map(|job| job.images as u64).sum());
        drop(gone);
        let images: usize = jobs.iter().map(|job| job.images).sum();
        if images == 0 {
            return;
        }
        let started = Instant::now();
        let logits = match &jobs[..] {
            [job] => self.forward(&job.input),
            _ => {
                let inputs: Vec<&[f32]> = jobs.iter().map(|job| &job.input[..]).collect();
                self.forward(&inputs.concat())
            }
        };
        let forward = started.elapsed();
        match logits {
            Ok(logits) => {
                self.metrics.batches.add(1);
                self.metrics.images.add(images as u64);
                self.metrics.forward.add(forward);
                let classes = logits.len() / images;
                let mut at = 0;
                for job in jobs {
                    let end = at + job.images * classes;
                    let queue = started - job.queued;
                    self.metrics.queue.add(queue);
                    let answer = Answer { logits: logits[at..end].to_vec(), queue, forward };
                    reply(job, Ok(answer));
                    at = end;
                }
            }
            Err(_) if jobs.len() > 1 => jobs.into_iter().for_each(|job| self.answer(vec![job])),
            Err(failure) => {
                if let Some(job) = jobs.into_iter().next() {
                    reply(job, Err(failure));
                }
            }
        }
    }

    /// The logits. After a panic the session is another one, since half of a pass may lie in its memory.
    fn forward(&mut self, input: &[f32]) -> Result<Vec<f32>, Failure> {
        match catch_unwind(AssertUnwindSafe(|| self.classifier.logits(input))) {
            Ok(Ok(logits)) => Ok(logits),
            Ok(Err(error)) => Err(Failure::bad(error.to_string())),
            Err(_) => {
                match self.classifier.share() {
                    Ok(classifier) => self.classifier = classifier,
                    Err(_) => self.alive.store(false, Ordering::Relaxed),
                }
                Err(Failure::internal())
            }
        }
    }
}

/// Frees the place before the client hears: it may come again at once.
fn reply(job: Job, answer: Result<Answer, Failure>) {
    drop(job.room);
    // The client may just have left.
    let _ = job.reply.send(answer);
}
