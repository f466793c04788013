//! The files that grow with a run: its log, and beside it when each line of it was written.

use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use anyhow::{Context, Result};
use top5::data::files;
use top5::train::{Moment, Row, State, StepRecord, line, moments_until};

use crate::run_folder::{LOG, LONGEST_LOG, MOMENTS, RunFolder};

/// The files, open.
pub(super) struct Record {
    log: File,
    moments: File,
}

impl Record {
    /// Opens those of a run that goes on from this state. What was written after it goes away, and so does a line that was cut
    /// off.
    pub(super) fn open(folder: &RunFolder, state: &State) -> Result<Self> {
        let log = folder.append(LOG, state.log_bytes)?;
        let path = folder.join(MOMENTS);
        let before = match path.exists() {
            true => files::read(&path, LONGEST_LOG)
                .with_context(|| format!("reading {}", path.display()))?,
            false => Vec::new(),
        };
        let kept = moments_until(&before, state.step, state.rows.len());
        let moments = folder.append(MOMENTS, kept as u64)?;
        let mut record = Self { log, moments };
        record.moment(Moment::Begin { step: state.step, time: now() })?;
        Ok(record)
    }

    /// Adds a line to the log.
    pub(super) fn log(&mut self, line: &str) -> Result<()> {
        self.log.write_all(line.as_bytes()).context("writing the log")
    }

    /// Notes that a step was done.
    pub(super) fn step(&mut self, step: &StepRecord) -> Result<()> {
        self.moment(Moment::Step { step: step.step, time: now() })
    }

    /// Notes that an epoch was done.
    pub(super) fn epoch(&mut self, row: &Row) -> Result<()> {
        self.moment(Moment::Epoch { epoch: row.epoch, time: now() })
    }

    fn moment(&mut self, moment: Moment) -> Result<()> {
        self.moments
            .write_all(line(&moment).as_bytes())
            .with_context(|| format!("writing {MOMENTS}"))
    }
}

/// Seconds since 1970, to the microsecond.
fn now() -> f64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_micros() as f64 / 1e6
}
