//! A run as TensorBoard's event files: one per process that trained, in the run's folder.
//!
//! Where a run goes on, what the older files tell of later steps is cut off, and the new one tells readers that hold it
//! already to forget it. So no step is there twice, neither in the files nor in a TensorBoard that watched.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use top5::formats::events::{opening, restart, scalars, until};
use top5::train::{EpochRow, History, State, StepRecord};

use crate::run_folder::{EVENTS, RunFolder};

/// A file, open.
pub(crate) struct Events {
    file: File,
    /// When the step before this one was done.
    before: Option<f64>,
}

impl Events {
    /// Begins the file of a process that goes on from this state, at `time` in seconds since 1970. Where the folder has none,
    /// it tells of the steps before, too.
    pub(crate) fn open(folder: &RunFolder, state: &State, time: f64) -> Result<Self> {
        let older = folder.events()?;
        for name in &older {
            let kept = until(&folder.log(name)?, state.step);
            folder.append(name, kept as u64)?;
        }
        let start = match (older.is_empty(), state.step) {
            (true, 0) => opening(time),
            (true, _) => whole(&folder.history()?, state.step, time),
            (false, step) => [opening(time), restart(time, step + 1)].concat(),
        };
        let mut events = Self { file: begin(folder, &older, time)?, before: Some(time) };
        events.write(&start)?;
        Ok(events)
    }

    /// A step was done.
    pub(crate) fn step(&mut self, step: &StepRecord, time: f64) -> Result<()> {
        let seconds = self.before.replace(time).map(|before| time - before);
        self.write(&of_step(step, time, seconds))
    }

    /// An epoch was done.
    pub(crate) fn epoch(&mut self, row: &EpochRow, time: f64) -> Result<()> {
        self.before = Some(time);
        self.write(&of_epoch(row, time))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context("writing TensorBoard's file")
    }
}

/// Makes the file of a run that has none from its logs, and returns its name; None where there is one.
pub(crate) fn convert(folder: &RunFolder, history: &History) -> Result<Option<String>> {
    if !folder.events()?.is_empty() {
        return Ok(None);
    }
    let time = history.steps.iter().find_map(|step| step.time).unwrap_or_default();
    let name = file_name(time as u64);
    folder.write(&name, &whole(history, usize::MAX, time))?;
    Ok(Some(name))
}

/// The events of a history up to a step. Those of unknown time get that of the one before.
fn whole(history: &History, until: usize, began: f64) -> Vec<u8> {
    let (mut bytes, mut time) = (opening(began), began);
    let mut rows = history.rows.iter().peekable();
    for step in history.steps.iter().take_while(|step| step.record.step <= until) {
        time = step.time.unwrap_or(time);
        bytes.extend(of_step(&step.record, time, step.seconds));
        while let Some(row) = rows.next_if(|row| row.step <= step.record.step) {
            bytes.extend(of_epoch(row, time));
        }
    }
    bytes
}

fn of_step(step: &StepRecord, time: f64, seconds: Option<f64>) -> Vec<u8> {
    let mut values = vec![("step/loss", step.loss), ("step/lr", f64::from(step.lr))];
    values.extend(step.top1.map(|top1| ("step/top1", top1)));
    let seconds = seconds.filter(|&seconds| seconds > 0.0);
    let pace = step.images.zip(seconds).map(|(images, seconds)| images as f64 / seconds);
    values.extend(pace.map(|pace| ("step/images_per_second", pace)));
    scalars(time, step.step, &values)
}

fn of_epoch(row: &EpochRow, time: f64) -> Vec<u8> {
    let values = [
        ("train/loss", Some(row.train_loss)),
        ("train/top1", Some(row.train_top1)),
        ("train/top5", row.train_top5),
        ("validation/loss", row.eval_loss),
        ("validation/top1", row.eval_top1),
        ("validation/top5", row.eval_top5),
    ];
    let known = values.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
    scalars(time, row.step, &known.collect::<Vec<_>>())
}

/// A new file, whose name comes after those of the older.
fn begin(folder: &RunFolder, older: &[String], time: f64) -> Result<File> {
    let second = |name: &String| name.strip_prefix(EVENTS)?.split('.').next()?.parse::<u64>().ok();
    let newest = older.iter().filter_map(second).max();
    let second = (time as u64).max(newest.map_or(0, |newest| newest.saturating_add(1)));
    folder.append(&file_name(second), 0)
}

fn file_name(second: u64) -> String {
    format!("{EVENTS}{second:010}.top5")
}
