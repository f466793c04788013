//! How a run tells what it does: drawn on a terminal, in lines, or in sentences for a screen reader.

use std::time::Instant;

use clap::{Args, ValueEnum};
use top5::train::{EpochRow, State, StepRecord, sentence};

use super::view::View;
use crate::listen;
use crate::output::Output;

/// How steps and epochs are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Telling {
    /// The run drawn in a few lines that change, and a line per epoch; plain where stderr is no terminal
    Live,
    /// A line per epoch
    Plain,
    /// A sentence per epoch, made to be heard
    Sentences,
}

/// How a run is told of while it trains and when it ends.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct TellingArgs {
    /// How to tell of steps and epochs; live on a terminal, else plain by default
    #[arg(long, value_name = "HOW", value_enum)]
    pub(super) progress: Option<Telling>,
    /// Also write TensorBoard's event files into the run's folder
    #[arg(long)]
    pub(super) tensorboard: bool,
    /// Show the run in a browser while it trains, at 127.0.0.1:8000 by default; at other addresses than this machine's own to
    /// the network, too
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "127.0.0.1:8000", value_parser = listen::host_and_port)]
    pub(super) watch: Option<(String, u16)>,
    /// Write no report.html at the end
    #[arg(long)]
    pub(super) no_report: bool,
}

/// Tells of one run.
pub(super) struct Teller {
    view: Option<View>,
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
        Self {
            view: draws.then(|| View::new(output, steps, state)),
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
        let left = self.seconds_left();
        if let Some(view) = &mut self.view {
            view.step(step, left);
        }
    }

    /// An epoch was done, the last of these.
    pub(super) fn epoch(&mut self, rows: &[EpochRow], best: bool) {
        let text = match rows.last() {
            Some(_) if self.sentences => {
                let said = sentence(rows, self.epochs).unwrap_or_default();
                format!("{said} {}", left_in_words(self.seconds_left()))
            }
            Some(row) => line(row, self.epochs, best),
            None => return,
        };
        match &mut self.view {
            Some(view) => view.epoch(rows, &text),
            None => self.output.note(text.trim_end()),
        }
    }

    /// Says something that stays.
    pub(super) fn note(&mut self, text: &str) {
        match &mut self.view {
            Some(view) => view.note(text),
            None => self.output.note(text),
        }
    }

    /// Something is not as it should be.
    pub(super) fn warn(&mut self, text: &str) {
        match &mut self.view {
            Some(view) => view.aside(|output| output.warn(text)),
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
fn line(row: &EpochRow, epochs: usize, best: bool) -> String {
    let EpochRow { epoch, train_loss, train_top1, eval_loss, eval_top1, .. } = row;
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
