//! One pass over the images for the strongest activations, which can be cut off.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use top5::data::{Loader, LoaderOptions, files};
use top5::explain::zfnet::gallery::Search;
use top5::graph::{EngineError, Graph, Network, NodeId, Session, SessionOptions, counted};
use top5::{Finite, Model, Options, write_whole};

use super::subject::Images;
use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::memory::readers;
use crate::output::Output;
use crate::progress::Progress;
use crate::source::traced;

/// How far a search is, in its folder.
pub(super) const STATE: &str = "search.json";

/// How a search goes.
pub(super) struct Pass<'p> {
    pub(super) layers: &'p [NodeId],
    pub(super) batch: usize,
    pub(super) skip_bad: bool,
    pub(super) options: &'p Options,
    pub(super) interrupt: &'p Interrupt,
    pub(super) output: Output,
    /// Where and after how many images it writes down how far it is.
    pub(super) state: Option<(&'p Path, usize)>,
    /// Reads the model again, to find the layer whose values are not finite.
    pub(super) open: &'p dyn Fn() -> Result<Model>,
}

impl Pass<'_> {
    /// Where the search in a folder is, or at its beginning.
    pub(super) fn begin(&self, search: Search, graph: &Graph) -> Result<Search> {
        let Some((folder, _)) = self.state else { return Ok(search) };
        let path = folder.join(STATE);
        if !path.exists() || self.output.force {
            return Ok(search);
        }
        let reading = || format!("reading {}", path.display());
        let bytes = files::read(&path, files::TEXT).with_context(reading)?;
        let units = |&layer: &NodeId| graph.node(layer).shape().size().iter().product();
        let units: Vec<usize> = self.layers.iter().map(units).collect();
        let resumed = search.resume(&bytes, &units).map_err(|error| {
            let message = format!(
                "{}: {error}: choose another folder with --out, or begin anew with --force",
                path.display()
            );
            Stop::BadInput(message)
        })?;
        self.output.note(&format!("going on after {}", counted(resumed.seen(), "image")));
        Ok(resumed)
    }

    /// Looks at all images that the search has not seen.
    pub(super) fn run(
        &self,
        network: &dyn Network,
        images: &Images,
        search: &mut Search,
    ) -> Result<()> {
        let (from, start) = (search.seen(), Instant::now());
        let stop = self.interrupt.stop();
        let options = SessionOptions {
            keep: self.layers.to_vec(),
            stop: Some(stop.clone()),
            ..SessionOptions::inference(self.batch)
        };
        let mut session = Finite::new(network.session(network.graph(), &options)?);
        let loading = LoaderOptions::evaluation(self.batch);
        let loader = Loader::new(images.rest(from), images.preprocess.clone(), loading)
            .threads(readers(self.options))
            .stop(stop);
        let progress = Progress::new(self.output, "searching", images.count);
        let (mut saved, mut unread) = (from, Vec::new());
        for batch in loader.epoch(0, 0) {
            if self.interrupt.signal().is_some() {
                return Err(self.stopped(search));
            }
            let batch = batch?;
            unread.extend(batch.unread.iter().map(|(_, error)| error.to_string()));
            let numbers: Vec<usize> =
                batch.indices.iter().map(|&index| from + index as usize).collect();
            let kept = match numbers.is_empty() {
                true => Vec::new(),
                false => match session.forward(&batch.images) {
                    Err(EngineError::Stopped) => return Err(self.stopped(search)),
                    forward => {
                        let forward = forward.map_err(anyhow::Error::from);
                        traced(forward, session.culprit(), self.options, self.open)?.kept
                    }
                },
            };
            search.observe(&numbers, &kept, batch.unread.len())?;
            let speed = || (search.seen() - from) as f64 / start.elapsed().as_secs_f64().max(1e-9);
            progress.set(search.seen(), || format!("{:.1} images/s", speed()));
            if let Some((_, every)) = self.state
                && search.seen() - saved >= every
            {
                saved = search.seen();
                self.save(search)?;
            }
        }
        drop(progress);
        unread.iter().for_each(|error| self.output.warn(&format!("left out: {error}")));
        self.save(search)?;
        if search.unread() > 0 && !self.skip_bad || search.unread() == images.count {
            let message = format!(
                "{} of {} could not be used: replace them, or leave them out with --skip-bad",
                search.unread(),
                counted(images.count, "image")
            );
            return Err(Stop::BadInput(message).into());
        }
        let seconds = start.elapsed().as_secs_f64();
        let seen = search.seen() - from;
        if seen > 0 {
            let speed = seen as f64 / seconds.max(1e-9);
            self.output.note(&format!(
                "{} in {seconds:.1} s, {speed:.1} images/s",
                counted(seen, "image")
            ));
        }
        Ok(())
    }

    fn save(&self, search: &Search) -> Result<()> {
        match self.state {
            Some((folder, _)) => Ok(write_whole(&folder.join(STATE), &search.to_json())?),
            None => Ok(()),
        }
    }

    /// The error of a search that a signal ended, after what it found is written down.
    fn stopped(&self, search: &Search) -> anyhow::Error {
        if let Err(error) = self.save(search) {
            return error;
        }
        let signal = self.interrupt.signal().unwrap_or(2);
        let kept = match self.state {
            Some(_) => "; the same command goes on from there",
            None => "",
        };
        let message = format!("stopped after {}{kept}", counted(search.seen(), "image"));
        Stop::Interrupted { signal, message }.into()
    }
}
