//! The files that grow with a run: its log, beside it when each line of it was written, and TensorBoard's.

use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use anyhow::{Context, Result};
use top5::train::{EpochRow, Moment, State, StepRecord, line, moments_until};

use crate::run_folder::{LOG, MOMENTS, RunFolder};
use crate::tensorboard::Events;

/// The files, open.
pub(super) struct Record {
    log: File,
    moments: File,
    events: Option<Events>,
}

impl Record {
    /// Opens those of a run that goes on from this state. What was written after it goes away, and so does a line that was cut
    /// off. TensorBoard's file is there where it is asked for, or the run has some already.
    pub(super) fn open(folder: &RunFolder, state: &State, tensorboard: bool) -> Result<Self> {
        let time = now();
        let log = folder.append(LOG, state.log_bytes)?;
        let kept = moments_until(&folder.log(MOMENTS)?, state.step, state.rows.len());
        let moments = folder.append(MOMENTS, kept as u64)?;
        let tensorboard = tensorboard || !folder.events()?.is_empty();
        let events = tensorboard.then(|| Events::open(folder, state, time)).transpose()?;
        let mut record = Self { log, moments, events };
        record.moment(Moment::Begin { step: state.step, time })?;
        Ok(record)
    }

    /// Adds a line to the log.
    pub(super) fn log(&mut self, line: &str) -> Result<()> {
        self.log.write_all(line.as_bytes()).context("writing the log")
    }

    /// Notes that a step was done.
    pub(super) fn step(&mut self, step: &StepRecord) -> Result<()> {
        let time = now();
        self.moment(Moment::Step { step: step.step, time })?;
        self.events.as_mut().map_or(Ok(()), |events| events.step(step, time))
    }

    /// Notes that an epoch was done.
    pub(super) fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        let time = now();
        self.moment(Moment::Epoch { epoch: row.epoch, time })?;
        self.events.as_mut().map_or(Ok(()), |events| events.epoch(row, time))
    }

    fn moment(&mut self, moment: Moment) -> Result<()> {
        let written = self.moments.write_all(line(&moment).as_bytes());
        written.with_context(|| format!("writing {MOMENTS}"))
    }
}

/// Seconds since 1970, to the microsecond.
fn now() -> f64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_micros() as f64 / 1e6
}
