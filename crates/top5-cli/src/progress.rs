//! How far a long command is: a bar on stderr where it is a terminal, and plain lines.

use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A bar that vanishes when it is done.
pub(crate) struct Progress {
    bar: ProgressBar,
    output: Output,
}

impl Progress {
    /// A bar of `length` steps, called `what`. It is never drawn where stderr is no terminal.
    pub(crate) fn new(output: Output, what: &str, length: usize) -> Self {
        let target = match output.animated() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(length as u64), target);
        let style = "{prefix} [{bar:32}] {pos}/{len}  {msg}  {eta} left";
        bar.set_style(
            ProgressStyle::with_template(style)
                .expect("the template is valid")
                .progress_chars("=> "),
        );
        bar.set_prefix(what.to_owned());
        // The thread that moves it is not to be had everywhere, and not needed where nothing is drawn.
        if output.animated() && thread::Builder::new().spawn(|| ()).is_ok() {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, output }
    }

    /// Moves to `position`.
    pub(crate) fn set(&self, position: usize, message: impl FnOnce() -> String) {
        self.bar.set_position(position as u64);
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
        }
    }

    /// Writes a warning above the bar.
    pub(crate) fn warn(&self, text: &str) {
        self.bar.suspend(|| self.output.warn(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
