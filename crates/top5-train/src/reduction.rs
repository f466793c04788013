//! Gradients added over ranks by a thread of its own, bucket by bucket, while the backward pass goes on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};

use top5_graph::{Bucket, EngineError, NodeId, Reducer};

use crate::ranks::{RankError, Ranks};

/// What the engine hands its buckets to.
pub(crate) struct Reduction<'a> {
    ranks: &'a dyn Ranks,
    /// Whether batch normalisation is over the images of all ranks.
    synchronises: bool,
    work: Sender<Bucket>,
    done: Receiver<Result<Bucket, RankError>>,
    /// Buckets that are under way.
    away: usize,
    /// Those that are given back as they are, where this pass's gradients are not added yet.
    held: Option<Vec<Bucket>>,
}

impl<'a> Reduction<'a> {
    /// Starts the thread, which ends when this is dropped.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        ranks: &'a dyn Ranks,
        synchronises: bool,
    ) -> Result<Self, EngineError> {
        let (work, buckets) = channel::<Bucket>();
        let (results, done) = channel();
        let reduce = move || {
            for mut bucket in buckets {
                let reduced = ranks.sum(bucket.values.values_mut()).map(|()| bucket);
                let failed = reduced.is_err();
                if results.send(reduced).is_err() || failed {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("reduction".to_owned());
        let why = |error| EngineError::Reduction { why: format!("no thread for it: {error}") };
        thread.spawn_scoped(scope, reduce).map_err(why)?;
        Ok(Self { ranks, synchronises, work, done, away: 0, held: None })
    }

    /// Whether the gradients of the next pass stay as they are: those of a later one are added to them first.
    pub(crate) fn hold(&mut self, holds: bool) {
        self.held = holds.then(Vec::new);
    }
}

/// What the engine says of ranks that do not answer.
fn failed(error: RankError) -> EngineError {
    EngineError::Reduction { why: error.to_string() }
}

/// The thread has ended early.
fn ended() -> EngineError {
    EngineError::Reduction { why: "its thread has ended".to_owned() }
}

impl Reducer for Reduction<'_> {
    fn synchronises(&self) -> bool {
        self.synchronises
    }

    fn statistics(&mut self, _: NodeId, sums: &mut [f64]) -> Result<(), EngineError> {
        self.ranks.add(sums).map_err(failed)
    }

    fn ready(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        if let Some(held) = &mut self.held {
            held.push(bucket);
            return Ok(());
        }
        self.away += 1;
        // Where the thread has ended, `finish` says why.
        let _ = self.work.send(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        let away = std::mem::take(&mut self.away);
        let result = |_| self.done.recv().map_err(|_| ended())?.map_err(failed);
        (0..away).map(result).collect()
    }
}
