//! How a run tells what it does: drawn on a terminal, in lines, or in sentences for a screen reader.

use std::time::Instant;

use clap::ValueEnum;
use top5::train::{Row, State, StepRecord, sentence};

use crate::output::Output;
use crate::progress::Progress;

/// How steps and epochs are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Telling {
    /// A picture of the run that moves, and a line per epoch
    Live,
    /// A line per epoch
    Plain,
    /// A sentence per epoch, made to be heard
    Sentences,
}

/// Tells of one run.
pub(super) struct Teller {
    progress: Option<Progress>,
    sentences: bool,
    output: Output,
    epochs: usize,
    steps: usize,
    /// Steps that were done before.
    first: usize,
    began: Instant,
    step: usize,
}

impl Teller {
    /// Of a run of so many steps that goes on from `state`.
    pub(super) fn new(how: Option<Telling>, output: Output, steps: usize, state: &State) -> Self {
        let draws = match how {
            None | Some(Telling::Live) => output.animated(),
            Some(Telling::Plain | Telling::Sentences) => false,
        };
        let progress = draws.then(|| Progress::new(output, "training", steps));
        if let Some(progress) = &progress {
            progress.set(state.step, String::new);
        }
        Self {
            progress,
            sentences: how == Some(Telling::Sentences),
            output,
            epochs: state.recipe.epochs,
            steps,
            first: state.step,
            began: Instant::now(),
            step: state.step,
        }
    }

    /// A step was done.
    pub(super) fn step(&mut self, step: &StepRecord) {
        self.step = step.step;
        if let Some(progress) = &self.progress {
            progress.set(step.step, || format!("loss {:.4}", step.loss));
        }
    }

    /// An epoch was done, the last of these.
    pub(super) fn epoch(&mut self, rows: &[Row], best: bool) {
        let text = match rows.last() {
            Some(_) if self.sentences => {
                let said = sentence(rows, self.epochs).unwrap_or_default();
                format!("{said} {}", left_in_words(self.seconds_left()))
            }
            Some(row) => line(row, self.epochs, best),
            None => return,
        };
        self.note(text.trim_end());
    }

    /// Says something that stays.
    pub(super) fn note(&self, text: &str) {
        match &self.progress {
            Some(progress) => progress.line(text),
            None => self.output.note(text),
        }
    }

    /// Something is not as it should be.
    pub(super) fn warn(&self, text: &str) {
        match &self.progress {
            Some(progress) => progress.warn(text),
            None => self.output.warn(text),
        }
    }

    /// How long the rest will take if it goes on as in this process so far; 0 at the end.
    fn seconds_left(&self) -> f64 {
        let done = self.step.saturating_sub(self.first).max(1);
        let left = self.steps.saturating_sub(self.step);
        self.began.elapsed().as_secs_f64() / done as f64 * left as f64
    }
}

/// An epoch in a line.
fn line(row: &Row, epochs: usize, best: bool) -> String {
    let Row { epoch, train_loss, train_top1, eval_loss, eval_top1, .. } = row;
    let validation = match (eval_loss, eval_top1) {
        (Some(loss), Some(top1)) => {
            let best = if best { "  (best)" } else { "" };
            let of = if row.ema { " of the average" } else { "" };
            format!("  validation{of}: loss {loss:.4}  top-1 {top1:.2} %{best}")
        }
        _ => String::new(),
    };
    format!("epoch {epoch}/{epochs}  loss {train_loss:.4}  top-1 {train_top1:.2} %{validation}")
}

/// A time to wait, as a sentence.
fn left_in_words(seconds: f64) -> String {
    let about = |value: f64, unit: &str| {
        let value = value.round().max(1.0);
        let (is, s) = if value == 1.0 { ("is", "") } else { ("are", "s") };
        format!("About {value} {unit}{s} {is} left.")
    };
    match seconds {
        0.0 => String::new(),
        seconds if seconds < 90.0 => about(seconds, "second"),
        seconds if seconds < 5400.0 => about(seconds / 60.0, "minute"),
        seconds => about(seconds / 3600.0, "hour"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_one_unit() {
        for (seconds, said) in [
            (0.0, ""),
            (0.2, "About 1 second is left."),
            (89.4, "About 89 seconds are left."),
            (90.0, "About 2 minutes are left."),
            (5399.0, "About 90 minutes are left."),
            (7300.0, "About 2 hours are left."),
        ] {
            assert_eq!(left_in_words(seconds), said, "{seconds}");
        }
    }
}
